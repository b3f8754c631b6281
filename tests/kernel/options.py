"""The socket options of iptables, byte by byte: what is asked here is asked of the kernel and of the helper.

Usage: options.py FAMILIES kernel
       options.py FAMILIES mbox IPT2BPF CGROUP
       options.py FAMILIES socket PATH CGROUP
"""

import base64
import ctypes
import json
import socket
import struct
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)
LEVELS = {"v4": (socket.AF_INET, 0, 66, 67), "v6": (socket.AF_INET6, 41, 68, 69)}


class Kernel:
    """getsockopt and setsockopt of this process, whoever answers them."""

    def __init__(self):
        self.sockets = {f: socket.socket(LEVELS[f][0], socket.SOCK_RAW, 255) for f in FAMILIES}

    def get(self, family, option, head, length):
        buffer = ctypes.create_string_buffer(head, max(len(head), length, 1))
        size = ctypes.c_uint32(length)
        descriptor, level = self.sockets[family].fileno(), LEVELS[family][1]
        if libc.getsockopt(descriptor, level, option, buffer, ctypes.byref(size)) < 0:
            return ctypes.get_errno(), b""
        return 0, buffer.raw[: size.value]

    def set(self, family, option, value, counters):
        descriptor, level = self.sockets[family].fileno(), LEVELS[family][1]
        if libc.setsockopt(descriptor, level, option, value, len(value)) < 0:
            return ctypes.get_errno()
        return 0


class Mbox:
    """The protocol of bpfilter: the helper reads and writes the memory of this process."""

    def __init__(self, program, cgroup):
        command = [program, "serve", "--mbox", "--cgroup", cgroup]
        pipe = subprocess.PIPE
        self.helper = subprocess.Popen(command, stdin=pipe, stdout=pipe)
        import os
        self.pid = os.getpid()
        assert self.ask(0, 0, 0, 0) == 0, "health check"

    def ask(self, address, length, is_set, command):
        request = struct.pack("=QIIII", address, length, is_set, command, self.pid)
        self.helper.stdin.write(request)
        self.helper.stdin.flush()
        return -struct.unpack("=i", self.helper.stdout.read(4))[0]

    def get(self, family, option, head, length):
        buffer = ctypes.create_string_buffer(head, max(len(head), length, 1))
        errno = self.ask(ctypes.addressof(buffer), length, 0, option)
        return errno, b"" if errno else buffer.raw[:length]

    def set(self, family, option, value, counters):
        buffer = ctypes.create_string_buffer(value, max(len(value), 1))
        return self.ask(ctypes.addressof(buffer), len(value), 1, option)


class Socket:
    """Varlink, with all bytes in the messages."""

    def __init__(self, path, cgroup):
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.connect(path)
        self.place = {"cgroup": cgroup}

    def ask(self, **parameters):
        parameters["place"] = self.place
        parameters["payload"] = base64.b64encode(parameters["payload"]).decode()
        call = {"method": "io.ipt2bpf.SocketOption", "parameters": parameters}
        self.stream.sendall(json.dumps(call).encode() + b"\0")
        reply = b""
        while not reply.endswith(b"\0"):
            reply += self.stream.recv(65536)
        reply = json.loads(reply[:-1])
        assert "error" not in reply, reply
        answer = reply["parameters"]
        return answer["errno"], base64.b64decode(answer["payload"])

    def get(self, family, option, head, length):
        errno, payload = self.ask(
            family=family, set=False, option=option, payload=head[:length], length=length
        )
        return errno, b"" if errno else payload + head[len(payload) : length]

    def set(self, family, option, value, counters):
        errno, old = self.ask(family=family, set=True, option=option, payload=value)
        ctypes.memmove(counters, old, len(old))
        return errno


def field(name, length):
    return name.encode().ljust(length, b"\0")


def talk(options, family):
    def say(*words):
        print(family, *[word.hex() if isinstance(word, bytes) else word for word in words])

    matches, targets = LEVELS[family][2:]
    for table in ["filter", "raw", "mangle", "nonesuch"]:
        say("info", table, *options.get(family, 64, field(table, 84), 84))
    errno, info = options.get(family, 64, field("filter", 84), 84)
    number, size = struct.unpack("=II", info[76:84])
    head = field("filter", 32) + struct.pack("=II", size, 0)
    errno, entries = options.get(family, 65, head, 40 + size)
    say("entries", errno, entries)
    for wrong in [39, 40, 40 + size - 8, 40 + size + 8]:
        say("length", wrong - size, *options.get(family, 65, head, wrong))
    bigger = field("filter", 32) + struct.pack("=II", size + 8, 0)
    say("size", *options.get(family, 65, bigger, 48 + size))
    for length in [0, 83, 85]:
        say("info length", length, *options.get(family, 64, field("filter", 84), length))
    for option, names in [
        (matches, [("tcp", 0), ("tcp", 9), ("conntrack", 3), ("nonesuch", 0)]),
        (targets, [("", 0), ("ERROR", 0), ("REJECT", 0), ("REJECT", 9), ("NONESUCH", 0)]),
    ]:
        for name, revision in names:
            asked = field(name, 29) + bytes([revision])
            say("revision", name, revision, options.get(family, option, asked, 30)[0])
        say("revision length", options.get(family, option, field("tcp", 31), 31)[0])

    counters = ctypes.create_string_buffer(16 * number)
    area = entries[40:]

    def replace(table="filter", hooks=info[32:36], entry_number=number, size=size, wanted=number, area=area):
        offsets = info[36:76]
        old = struct.pack("=IQ", wanted, ctypes.addressof(counters))
        numbers = struct.pack("=II", entry_number, size)
        return field(table, 32) + hooks + numbers + offsets + old + area

    def cut(at, value):
        return area[:at] + value + area[at + len(value) :]

    def send(*words, value):
        say("set", *words, options.set(family, 64, value, counters))

    for length in [0, 95, 96, 97]:
        send("length", length, value=replace()[:length])
    send("no counters", value=replace(wanted=0))
    send("many counters", value=replace(wanted=1 << 30))
    send("other counters", value=replace(wanted=number + 1))
    send("other hooks", value=replace(hooks=struct.pack("=I", 2)))
    send("more entries", value=replace(entry_number=number + 1))
    send("smaller", value=replace(size=size - 8))
    send("larger", value=replace(size=size + 8))
    send("unknown table", value=replace(table="nonesuch"))
    # Offsets of the first entry: to its target, to the next; of the verdict of its target.
    target_at = 88 if family == "v4" else 140
    target = struct.unpack("=H", area[target_at : target_at + 2])[0]
    send("target offset", value=replace(area=cut(target_at, struct.pack("=H", 8))))
    send("next offset", value=replace(area=cut(target_at + 2, struct.pack("=H", 4))))
    send("target size", value=replace(area=cut(target, struct.pack("=H", 0xFFF0))))
    send("target name", value=replace(area=cut(target + 2, b"x" * 29)))
    say("unchanged", *options.get(family, 65, head, 40 + size))

    send("same again", value=replace())
    say("old counters", counters.raw)
    say("new counters", *options.get(family, 65, head, 40 + size))
    # What leads and ends user chains has no counter of ours, and nobody reads or sets one.
    heads, at = [], 0
    for entry in range(number):
        target, following = struct.unpack("=HH", area[at + target_at : at + target_at + 4])
        if area[at + target + 2 :].startswith(b"ERROR\0"):
            heads.append(entry)
        at += following
    silent = heads + [head - 1 for head in heads[1:]]
    more = [(0, 0) if i in silent else (3 * i, 1000 + i) for i in range(number)]
    more = b"".join(struct.pack("=QQ", *pair) for pair in more)
    for wanted, words in [(number + 1, more), (number, more[:-16]), (number - 1, more[:-16]), (number, more)]:
        value = field("filter", 32) + struct.pack("=II", wanted, 0) + words
        say("add", wanted - number, len(words), options.set(family, 65, value, counters))
    for wanted in [0, 1]:
        nowhere = field("nonesuch", 32) + struct.pack("=II", wanted, 0) + bytes(16 * wanted)
        say("add nowhere", wanted, options.set(family, 65, nowhere, counters))
    say("after all", *options.get(family, 65, head, 40 + size))


FAMILIES = sys.argv[1].split(",")
OPTIONS = {"kernel": Kernel, "mbox": Mbox, "socket": Socket}[sys.argv[2]](*sys.argv[3:])
for FAMILY in FAMILIES:
    talk(OPTIONS, FAMILY)
