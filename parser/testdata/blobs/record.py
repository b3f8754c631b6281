"""Loads rulesets in a network namespace of its own and records the blobs and texts.

usage: record.py DIRECTORY [NAME.rules ...]
(as root; reads *.rules unless told which; needs iproute2, strace, cc and iptables-legacy)
"""
import ctypes, os, re, socket, struct, subprocess, sys, tempfile
from pathlib import Path

NAMESPACE = "record-blobs"
GET_INFO, GET_ENTRIES = 64, 65

def inside(*command, check=True, **environment):
    command = ["ip", "netns", "exec", NAMESPACE, *command]
    environment = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, check=check, env=environment)

def in_child(work):
    """Does the work in the namespace, in a process of its own."""
    child = os.fork()
    if child == 0:
        namespace = os.open(f"/run/netns/{NAMESPACE}", os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(namespace, 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

def make_counter():
    """The accounting object `web`, without which the kernel refuses `-m nfacct` (nfnetlink_acct.h)."""
    attribute = lambda kind, value: struct.pack("<HH", 4 + len(value), kind) + value
    attributes = attribute(1, b"web\0") + attribute(2, bytes(8)) + attribute(3, bytes(8))
    # NFNL_MSG_ACCT_NEW of NFNL_SUBSYS_ACCT; NLM_F_REQUEST, NLM_F_ACK and NLM_F_CREATE.
    header = struct.pack("<IHHII", 20 + len(attributes), 7 << 8, 0x405, 1, 0)
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    netlink.send(header + struct.pack(">BBH", 0, 0, 0) + attributes)
    assert struct.unpack_from("<i", netlink.recv(4096), 16)[0] == 0

def sent(tool, rules):
    """What the tool passes to IPT_SO_SET_REPLACE, whether or not the kernel takes it."""
    command = ["strace", "-xx", "-s", "1000000", "-e", "trace=setsockopt"]
    command += [tool + "-restore", "-c", str(rules)]
    trace = inside(*command, check=not is_lacking(rules)).stderr.decode()
    text = re.search(r'_SET_REPLACE, "([^"]*)"', trace)[1]
    return bytes.fromhex(text.replace("\\x", ""))

def kept(level, family, table):
    """The kernel's entries under the header of a replace."""
    libc = ctypes.CDLL(None, use_errno=True)
    def get(option, length):
        buffer = ctypes.create_string_buffer(table.encode(), length)
        if option == GET_ENTRIES:
            struct.pack_into("<I", buffer, 32, length - 40)
        size = ctypes.c_uint32(length)
        if libc.getsockopt(fd, level, option, buffer, ctypes.byref(size)):
            raise OSError(ctypes.get_errno(), "getsockopt")
        return bytes(buffer)
    fd = libc.socket(family, 3, 255)
    info = get(GET_INFO, 84)
    number, size = struct.unpack_from("<II", info, 76)
    header = info[:36] + struct.pack("<II", number, size) + info[36:76] + struct.pack("<IQ", number, 0)
    return header + get(GET_ENTRIES, 40 + size)[40:]

def is_lacking(rules):
    """Whether the kernel lacks an extension of them."""
    return rules.name.startswith("lacking-")

def save(tool, table, blob=None):
    """What the tool prints of the table, which is the kernel's or that of a blob."""
    command = [tool + "-save", "-c", "-t", table]
    if blob is None:
        text = inside(*command).stdout
    else:
        with tempfile.TemporaryDirectory() as directory:
            library = directory + "/answer.so"
            source = str(Path(__file__).with_name("answer.c"))
            subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
            text = inside(*command, LD_PRELOAD=library, BLOB=str(blob)).stdout
    return b"".join(line for line in text.splitlines(True) if not line.startswith(b"# "))

def record(rules):
    v6 = "-v6-" in rules.name
    tool, level, family = ("ip6tables-legacy", 41, 10) if v6 else ("iptables-legacy", 0, 2)
    table = re.search(r"^\*(\w+)", rules.read_text())[1]
    blob = rules.with_suffix(".replace.bin")
    blob.write_bytes(sent(tool, rules))
    text = save(tool, table, blob if is_lacking(rules) else None)
    rules.with_suffix(".save").write_bytes(text)
    if not is_lacking(rules):
        entries = rules.with_suffix(".kernel-entries.bin")
        in_child(lambda: entries.write_bytes(kept(level, family, table)))

def main():
    directory = Path(sys.argv[1])
    for rules in [directory / name for name in sys.argv[2:]] or sorted(directory.glob("*.rules")):
        subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
        try:
            in_child(make_counter)
            record(rules)
        finally:
            subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)

main()
