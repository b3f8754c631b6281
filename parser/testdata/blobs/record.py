"""Loads rulesets in a network namespace of its own and records the blobs and texts.

usage: record.py DIRECTORY   (as root; reads *.rules, needs iproute2, strace and iptables-legacy)
"""
import ctypes, os, re, struct, subprocess, sys
from pathlib import Path

NAMESPACE = "record-blobs"
GET_INFO, GET_ENTRIES = 64, 65

def inside(*command):
    return subprocess.run(["ip", "netns", "exec", NAMESPACE, *command], capture_output=True, check=True)

def sent(tool, rules):
    """What the tool passes to IPT_SO_SET_REPLACE."""
    command = ["strace", "-xx", "-s", "1000000", "-e", "trace=setsockopt"]
    trace = inside(*command, tool + "-restore", "-c", str(rules)).stderr.decode()
    text = re.search(r'_SET_REPLACE, "([^"]*)"', trace)[1]
    return bytes.fromhex(text.replace("\\x", ""))

def kept(level, family, table):
    """The kernel's entries under the header of a replace."""
    namespace = os.open(f"/run/netns/{NAMESPACE}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    def get(option, length):
        buffer = ctypes.create_string_buffer(table.encode(), length)
        if option == GET_ENTRIES:
            struct.pack_into("<I", buffer, 32, length - 40)
        size = ctypes.c_uint32(length)
        if libc.getsockopt(fd, level, option, buffer, ctypes.byref(size)):
            raise OSError(ctypes.get_errno(), "getsockopt")
        return bytes(buffer)
    if libc.setns(namespace, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")
    fd = libc.socket(family, 3, 255)
    info = get(GET_INFO, 84)
    number, size = struct.unpack_from("<II", info, 76)
    header = info[:36] + struct.pack("<II", number, size) + info[36:76] + struct.pack("<IQ", number, 0)
    return header + get(GET_ENTRIES, 40 + size)[40:]

def main():
    for rules in sorted(Path(sys.argv[1]).glob("*.rules")):
        v6 = "-v6-" in rules.name
        tool = "ip6tables-legacy" if v6 else "iptables-legacy"
        table = re.search(r"^\*(\w+)", rules.read_text())[1]
        subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
        try:
            rules.with_suffix(".replace.bin").write_bytes(sent(tool, rules))
            saved = inside(tool + "-save", "-c", "-t", table).stdout.splitlines(True)
            text = b"".join(line for line in saved if not line.startswith(b"# "))
            rules.with_suffix(".save").write_bytes(text)
            child = os.fork()
            if child == 0:
                level, family = (41, 10) if v6 else (0, 2)
                rules.with_suffix(".kernel-entries.bin").write_bytes(kept(level, family, table))
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        finally:
            subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)

main()
