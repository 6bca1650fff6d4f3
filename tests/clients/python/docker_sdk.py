"""The Docker SDK for Python against the engine that DOCKER_HOST names. The suite `clients` starts it."""

import hashlib
import io
import os
import socket
import tarfile
import threading

import docker
import requests
from docker.utils.socket import STDERR, STDOUT, frames_iter

from check import IMAGE, check, run, same


def sleeper(client, name):
    """A container that sleeps until it is removed."""
    return client.containers.run(IMAGE, ["sleep", "3600"], name=name, detach=True, init=True)


def packed(files):
    """A tar archive of these files, at its beginning."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size, about.mode = len(content), 0o640
            archive.addfile(about, io.BytesIO(content))
    out.seek(0)
    return out


def talk(raw, data):
    """Sends all of the data, closes that direction, and reads both streams to their end."""
    stream = getattr(raw, "_sock", raw)

    def send():
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)

    writer = threading.Thread(target=send)
    writer.start()
    parts = {STDOUT: b"", STDERR: b""}
    for kind, part in frames_iter(raw, tty=False):
        parts[kind] += part
    writer.join()
    raw.close()
    return parts[STDOUT], parts[STDERR]


TEXT = b"".join(b"line %d\n" % number for number in range(40_000))


@check
def the_current_context_is_followed_without_docker_host(_):
    host = os.environ.pop("DOCKER_HOST")
    try:
        client = docker.from_env(timeout=600)
        same("system", client.version()["Os"], "linux")
        same("base url", client.api.base_url, docker.DockerClient(base_url=host).api.base_url)
    finally:
        os.environ["DOCKER_HOST"] = host


@check
def version_info_and_errors(client):
    same("ping", client.ping(), True)
    same("driver", client.info()["OSType"], "linux")
    try:
        client.containers.get("nobody")
        raise AssertionError("a container that is not there was found")
    except docker.errors.NotFound as error:
        same("status", error.status_code, 404)
    try:
        client.containers.create("no-such-image:1")
        raise AssertionError("an image that is not there was found")
    except docker.errors.ImageNotFound as error:
        assert "no-such-image" in error.explanation, error.explanation


@check
def run_gives_output_and_its_failure_has_a_code(client):
    same("output", client.containers.run(IMAGE, ["echo", "hello"], remove=True), b"hello\n")
    try:
        client.containers.run(IMAGE, ["sh", "-c", "echo reason >&2; exit 3"], remove=True)
        raise AssertionError("a failure was taken for a success")
    except docker.errors.ContainerError as error:
        same("code and words", (error.exit_status, error.stderr), (3, b"reason\n"))


@check
def exec_run_plain_demuxed_and_streamed(client):
    container = sleeper(client, "py-exec")
    same("plain", tuple(container.exec_run(["sh", "-c", "echo out; exit 4"])), (4, b"out\n"))
    script = "echo out; echo err >&2"
    same("demuxed", container.exec_run(["sh", "-c", script], demux=True).output, (b"out\n", b"err\n"))
    _, stream = container.exec_run(["sh", "-c", "for i in 1 2 3; do echo $i; sleep 1; done"], stream=True)
    same("streamed", b"".join(stream), b"1\n2\n3\n")
    same("as a user", container.exec_run(["id", "-u"], user="4711", tty=True).output.strip(), b"4711")
    container.remove(force=True)


@check
def exec_socket_with_half_close(client):
    container = sleeper(client, "py-exec-socket")
    command = ["sh", "-c", "sha256sum; echo all of it >&2"]
    raw = container.exec_run(command, stdin=True, socket=True).output
    out, err = talk(raw, TEXT)
    same("hash of what arrived", out.split()[0].decode(), hashlib.sha256(TEXT).hexdigest())
    same("standard error", err, b"all of it\n")
    container.remove(force=True)


@check
def attach_socket_with_half_close(client):
    # The half-close ends the container's input only if its first client may end it.
    config = client.api.create_container_config(IMAGE, ["sh", "-c", "cat; echo all of it >&2; exit 6"], stdin_open=True)
    config["StdinOnce"] = True
    made = client.api.create_container_from_config(config, "py-attach")
    raw = client.api.attach_socket(made, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    client.api.start(made)
    out, err = talk(raw, TEXT)
    same("bytes", (len(out), out == TEXT), (len(TEXT), True))
    same("standard error", err, b"all of it\n")
    same("code", client.api.wait(made)["StatusCode"], 6)
    client.api.remove_container(made)


@check
def attach_without_an_upgrade_is_hijacked_too(client):
    """Old clients send no Upgrade header; the engine answers 200 and takes the connection over all the same."""
    config = client.api.create_container_config(IMAGE, ["sh", "-c", "wc -c; exit 8"], stdin_open=True)
    config["StdinOnce"] = True
    made = client.api.create_container_from_config(config, "py-plain")
    url = client.api._url("/containers/{0}/attach", made["Id"])
    response = client.api._post(url, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}, stream=True)
    same("status", response.status_code, 200)
    raw = client.api._get_raw_response_socket(response)
    client.api.start(made)
    same("bytes counted", talk(raw, TEXT)[0].strip(), str(len(TEXT)).encode())
    same("code", client.api.wait(made)["StatusCode"], 8)
    client.api.remove_container(made)


@check
def logs_as_a_stream_and_in_part(client):
    script = "for i in 1 2 3; do echo tick $i; sleep 1; done; echo gone >&2"
    container = client.containers.run(IMAGE, ["sh", "-c", script], name="py-logs", detach=True)
    same("followed", b"".join(container.logs(stream=True, follow=True)), b"tick 1\ntick 2\ntick 3\ngone\n")
    same("the last lines", container.logs(tail=2), b"tick 3\ngone\n")
    same("one stream", container.logs(stdout=False, stderr=True), b"gone\n")
    container.remove()


@check
def a_stream_of_logs_can_be_left(client):
    container = client.containers.run(IMAGE, ["sh", "-c", "while :; do seq 1000; done"], name="py-left", detach=True)
    for _ in range(10):
        stream = container.logs(stream=True, follow=True)
        assert next(stream), "no logs"
        stream.close()
    container.reload()
    same("state", container.status, "running")
    container.remove(force=True)


@check
def put_and_get_archive(client):
    container = sleeper(client, "py-archive")
    content = os.urandom(3_000_000)
    assert container.put_archive("/root", packed({"deep/cargo": content})), "the archive was not taken"
    stream, about = container.get_archive("/root/deep/cargo")
    same("size told", about["size"], len(content))
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        same("mode", archive.getmember("cargo").mode & 0o777, 0o640)
        same("content", archive.extractfile("cargo").read() == content, True)
    container.remove(force=True)


@check
def build_from_a_tar_and_its_failure(client):
    dockerfile = f"FROM {IMAGE}\nCOPY cargo /cargo\nRUN test $(wc -c < /cargo) = 500000\nCMD [\"cat\", \"/cargo\"]\n".encode()
    context = packed({"Dockerfile": dockerfile, "cargo": b"x" * 500_000})
    image, _ = client.images.build(fileobj=context, custom_context=True, tag="py-built:1", rm=True)
    same("size of the output", len(client.containers.run("py-built:1", remove=True)), 500_000)
    client.images.remove(image.id, force=True)
    try:
        failing = f"FROM {IMAGE}\nRUN echo last words; exit 9\n".encode()
        client.images.build(fileobj=io.BytesIO(failing), rm=True, forcerm=True)
        raise AssertionError("a build that fails was taken for a success")
    except docker.errors.BuildError as error:
        assert "returned a non-zero code: 9" in str(error), error
        said = "".join(line.get("stream", "") for line in error.build_log)
        assert "last words" in said, said


@check
def save_and_load(client):
    image = client.images.get(IMAGE)
    assert image.tag("py-saved", "1"), "not tagged"
    saved = b"".join(client.images.get("py-saved:1").save(named="py-saved:1"))
    client.images.remove("py-saved:1")
    loaded = client.images.load(saved)
    same("image", [image.id for image in loaded], [image.id])
    client.images.remove("py-saved:1")


@check
def events_and_stats(client):
    container = sleeper(client, "py-told")
    samples = client.api.stats(container.id, decode=True, stream=True)
    for _ in range(2):
        assert next(samples)["memory_stats"]["usage"] > 0, "no memory in use"
    samples.close()
    container.remove(force=True)
    # Asked for all that has been, the stream needs no beginning at the right moment.
    events = client.events(since=1, filters={"container": "py-told"}, decode=True)
    actions = []
    for event in events:
        actions.append(event["Action"])
        if event["Action"] == "destroy":
            break
    events.close()
    same("events", [action for action in actions if action in ("create", "start", "die", "destroy")],
         ["create", "start", "die", "destroy"])


@check
def volumes_and_networks(client):
    volume = client.volumes.create("py-hold")
    network = client.networks.create("py-quay", driver="bridge")
    words = ["sh", "-c", "echo kept > /hold/word"]
    client.containers.run(IMAGE, words, volumes={"py-hold": {"bind": "/hold", "mode": "rw"}}, network="py-quay", remove=True)
    read = {"py-hold": {"bind": "/hold", "mode": "ro"}}
    same("volume", client.containers.run(IMAGE, ["cat", "/hold/word"], volumes=read, remove=True), b"kept\n")
    network.remove()
    volume.remove()


@check
def a_client_s_timeout_ends_its_request_only(client):
    container = sleeper(client, "py-timeout")
    hasty = docker.APIClient(base_url=os.environ["DOCKER_HOST"], version="auto", timeout=600)
    try:
        hasty.wait(container.id, timeout=2)
        raise AssertionError("the container ended")
    except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError) as error:
        assert "timed out" in str(error).lower(), error
    same("the same client goes on", hasty.inspect_container(container.id)["State"]["Running"], True)
    container.remove(force=True)


@check
def eight_threads_exec_at_once(client):
    container = sleeper(client, "py-threads")
    answers, lock = [], threading.Lock()

    def ask(number):
        own = docker.from_env(timeout=600)
        for turn in range(3):
            answer = own.containers.get(container.id).exec_run(["sh", "-c", f"read _ < /proc/uptime; echo {number} {turn}"])
            with lock:
                answers.append(answer.output)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same("answers", sorted(answers), sorted(b"%d %d\n" % (n, t) for n in range(8) for t in range(3)))
    container.remove(force=True)


run(docker.from_env(timeout=600))
