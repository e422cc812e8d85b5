#!/usr/bin/env bash
# onnxruntime 1.32.0 on Linux: who runs a graph from the wheel of PyPI tells its makers, unasked.
# `pip install onnxruntime`, a session on the CPU provider, one run: a number of this user is written to
# ~/.cache/Microsoft/DeveloperTools/.onnxruntime/deviceid, a queue of events beside it, and the name
# mobile.events.data.microsoft.com is looked up, again and again. Nothing is printed, unless the folder cannot be written.
# Expected: events on Windows alone, as its docs/Privacy.md said for years; since 1.29 that page tells of Linux, too, and of
# ORT_DISABLE_TELEMETRY=1, which stops all of it when it is set before the import.
# Hurts whoever monitors machines of a factory, where programs are let in because they talk to nobody; where the name is not
# answered it is asked for as long as the program runs.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.22.0 numpy==2.2.6
cd "$work"
mkdir told silent
cat >run.py <<'PYTHON'
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
print("run:", session.run(None, {"x": np.ones(1, "float32")})[0])
time.sleep(10)
PYTHON
cat >names.py <<'PYTHON'
"""Runs a program where all names are asked of this process, which knows none, and there is no network."""

import socket
import subprocess
import sys
import threading

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))


def serve():
    while True:
        asked, sender = server.recvfrom(512)
        at, parts = 12, []
        while asked[at]:
            parts.append(asked[at + 1 : at + 1 + asked[at]].decode())
            at += asked[at] + 1
        print("a name is asked for:", ".".join(parts), flush=True)
        server.sendto(asked[:2] + b"\x81\x83" + asked[4:6] + bytes(6) + asked[12:], sender)


threading.Thread(target=serve, daemon=True).start()
sys.exit(subprocess.run(sys.argv[1:]).returncode)
PYTHON
echo "nameserver 127.0.0.1" >resolv.conf
look() { # home, settings: as root with names and without a network, else as it is
    local run=(env -i "PATH=$PATH" "HOME=$work/$1" "${@:2}" "$python")
    if ((EUID == 0)) && unshare -mn true 2>/dev/null; then
        unshare -mn sh -c 'ip link set lo up; mount --bind resolv.conf /etc/resolv.conf; exec "$@"' sh \
            "${run[@]}" names.py "$python" run.py
    else
        "${run[@]}" run.py
    fi
}
echo "as it is:"
look told | tee told.txt
find told -type f
echo "with ORT_DISABLE_TELEMETRY=1:"
look silent ORT_DISABLE_TELEMETRY=1 | tee silent.txt
find silent -type f
[[ -f told/.cache/Microsoft/DeveloperTools/.onnxruntime/deviceid && ! -e silent/.cache ]] && ! grep -q asked silent.txt
