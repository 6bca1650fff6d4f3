"""Testcontainers for Python with its reaper (Ryuk), which removes what a killed program leaves, and with a mapped port. The network
rig starts it: both need published ports. RYUK_CONTAINER_IMAGE names the stand-in for the reaper's image."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import docker
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy

from check import IMAGE, check, run, same

# A safety net for emulated machines; nothing here waits for it.
PATIENCE = 600


def child():
    """Starts what it should remove, says what that is, and dies."""
    network = Network().create()
    server = "echo served > /tmp/page; exec httpd -f -p 8080 -h /tmp"
    web = DockerContainer(IMAGE).with_command(["sh", "-c", server]).with_exposed_ports(8080).with_network(network)
    web.waiting_for(HttpWaitStrategy(8080, "/page").with_startup_timeout(PATIENCE)).start()
    address = f"http://{web.get_container_host_ip()}:{web.get_exposed_port(8080)}/page"
    page = urllib.request.urlopen(address, timeout=60).read().decode()
    print(json.dumps([web.get_wrapped_container().id, network.id, page]), file=sys.__stdout__, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


@check
def a_killed_programs_containers_are_reaped():
    died = subprocess.run([sys.executable, "-B", __file__, "child"], capture_output=True, timeout=PATIENCE)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()[-2000:]
    container, network, page = json.loads(died.stdout)
    same("the page through the mapped port", page, "served\n")
    client = docker.from_env()
    # It lives on with nobody to stop it, until the reaper has waited long enough.
    same("state", client.containers.get(container).status, "running")
    until_gone(lambda: client.containers.get(container))
    until_gone(lambda: client.networks.get(network))
    end = time.monotonic() + PATIENCE
    while client.containers.list(all=True):
        assert time.monotonic() < end, "the reaper does not go"
        time.sleep(0.2)


def until_gone(look):
    end = time.monotonic() + PATIENCE
    while True:
        try:
            look()
        except docker.errors.NotFound:
            return
        assert time.monotonic() < end, "it is still there"
        time.sleep(0.2)


if sys.argv[1:] == ["child"]:
    child()
else:
    run()
