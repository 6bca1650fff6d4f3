"""Testcontainers for Python against the engine that the current docker context names. The suite `clients` starts it, with
TESTCONTAINERS_RYUK_DISABLED: the reaper is reached by a published port, and the suite's machine has no network and publishes none. For the
same reason every wait is for a message, a health check, a file or a command, and none for a port: for both see `reaped.py`."""

import pathlib
import tempfile

import docker
from testcontainers.core.container import DockerContainer, ExecConfig
from testcontainers.core.image import DockerImage
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import (
    CompositeWaitStrategy,
    ExecWaitStrategy,
    HealthcheckWaitStrategy,
    LogMessageWaitStrategy,
)

from check import IMAGE, check, run, same

# A safety net for emulated machines; nothing here waits for it.
PATIENCE = 600


def script(text, *waits):
    """busybox with this script; it counts as started when it has said "ready"."""
    waits = [LogMessageWaitStrategy("ready").with_startup_timeout(PATIENCE)] + [
        wait.with_startup_timeout(PATIENCE) for wait in waits]
    made = DockerContainer(IMAGE).with_command(["sh", "-c", text]).with_kwargs(init=True)
    return made.waiting_for(CompositeWaitStrategy(*waits))


@check
def waits_for_a_message_and_removes():
    with script("echo warming up; sleep 1; echo ready; echo aside >&2; exec sleep 3600") as container:
        identity = container.get_wrapped_container().id
        same("state", container.get_wrapped_container().status in ("created", "running"), True)
        same("logs", container.get_logs(), (b"warming up\nready\n", b"aside\n"))
    try:
        docker.from_env().containers.get(identity)
        raise AssertionError("the container is still there")
    except docker.errors.NotFound:
        pass


@check
def waits_for_health():
    health = {"test": ["CMD", "test", "-e", "/tmp/up"], "interval": 1_000_000_000, "timeout": 60_000_000_000, "retries": 60}
    made = script("echo ready; sleep 2; touch /tmp/up; exec sleep 3600", HealthcheckWaitStrategy())
    with made.with_kwargs(init=True, healthcheck=health) as container:
        container.get_wrapped_container().reload()
        same("health", container.get_wrapped_container().attrs["State"]["Health"]["Status"], "healthy")


@check
def waits_for_a_command_to_succeed():
    with script("echo ready; sleep 1; touch /tmp/up; exec sleep 3600", ExecWaitStrategy(["test", "-e", "/tmp/up"])):
        pass


@check
def exec_gives_output_and_code():
    with script("echo ready; exec sleep 3600") as container:
        done = container.exec(["sh", "-c", "seq 3; exit 5"])
        same("output and code", (done.output, done.exit_code), (b"1\n2\n3\n", 5))
        done = container.exec(ExecConfig(command=["sh", "-c", "echo $PORT; pwd"], environment={"PORT": "home"}, workdir="/tmp"))
        same("environment and folder", done.output, b"home\n/tmp\n")


@check
def files_are_copied_in_and_out():
    content = bytes(number % 251 for number in range(200_000))
    made = script("echo ready; exec sleep 3600").with_copy_into_container(content, "/data/in")
    with made as container, tempfile.TemporaryDirectory() as folder:
        same("bytes that arrived", container.exec(["wc", "-c", "/data/in"]).output, b"200000 /data/in\n")
        back = pathlib.Path(folder) / "back"
        container.copy_from_container("/data/in", back)
        same("content", back.read_bytes() == content, True)


@check
def two_containers_meet_in_a_network():
    with Network() as network:
        server = script("echo served > /tmp/page; httpd -p 8080 -h /tmp && echo ready; exec sleep 3600")
        client = script("wget -q -O - http://shop:8080/page; echo ready; exec sleep 3600")
        with server.with_network(network).with_network_aliases("shop"), client.with_network(network) as asking:
            same("the page", asking.get_logs()[0], b"served\nready\n")


@check
def an_image_is_built_and_removed():
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo built > /word\n")
        with DockerImage(path=folder, tag="tc-built:1") as image, DockerContainer(str(image)).with_command(
                ["sh", "-c", "cat /word; exec sleep 3600"]).waiting_for(
                    LogMessageWaitStrategy("built").with_startup_timeout(PATIENCE)):
            pass


@check
def a_container_that_dies_early_is_an_error():
    made = script("echo last words; exit 3")
    try:
        made.start()
        raise AssertionError("it counts as started")
    except RuntimeError as error:
        assert "exited" in str(error), error
    finally:
        made.stop()


run()
