"""Free ports for servers, each given once in a run of e2e/run. As a program: prints one."""

import fcntl
import os
import random
import socket
from pathlib import Path

# Below those that the kernel gives to whoever asks for any: a server that is stopped finds its port free when it starts again.
_RANGE = range(10_000, 16_000)


def free_ports(count):
    """Ports that nobody listens on, all different."""
    ports = []
    with open(Path(os.environ["E2E_WORK"], "ports"), "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        given = {int(line) for line in file}
        for port in random.sample(_RANGE, len(_RANGE)):
            if len(ports) == count:
                break
            with socket.socket() as one:
                try:
                    one.bind(("127.0.0.1", port))
                except OSError:
                    continue
            if port not in given:
                ports.append(port)
        assert len(ports) == count, "no ports are free"
        file.write("".join(f"{port}\n" for port in ports))
    return ports


if __name__ == "__main__":
    print(*free_ports(1))
