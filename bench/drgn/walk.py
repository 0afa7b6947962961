# What the floor does (bench/floor/floor.c), by drgn: from the task list over each process's file descriptors to
# each socket's tuple. Offsets come from the kernel's debug information.
#
# walk.py IMAGE VMLINUX RUNS
#
# One JSON line a layer with the milliseconds of each run, then one with what the walk counted.
import json
import sys
import time

from drgn import Program, cast
from drgn.helpers.linux.fs import for_each_file
from drgn.helpers.linux.list import list_for_each_entry

SOCK_STREAM, SOCK_DGRAM, SOCK_RAW = 1, 2, 3
AF_INET, AF_INET6 = 2, 10
TCP = 6
DATAGRAMS = (17, 136, 1, 58)  # UDP, UDP-Lite, ICMP, ICMPv6


def start(image, vmlinux):
    prog = Program()
    prog.set_core_dump(image)
    # Without the modules': the walk needs none.
    prog.load_debug_info([vmlinux])
    # drgn passes over a file of another build.
    if prog.main_module().wants_debug_file():
        sys.exit(f"{vmlinux} has no debug information of the image's kernel")
    return prog


def is_flow(kind, protocol):
    if kind == SOCK_RAW:
        return True
    if kind == SOCK_STREAM:
        return protocol == TCP
    return kind == SOCK_DGRAM and protocol in DATAGRAMS


def swapped(port):
    return port >> 8 | (port & 0xFF) << 8


def walk(prog):
    socket_file_ops = prog["socket_file_ops"].address_of_().value_()
    socket_pointer = prog.type("struct socket *")
    inet_sock_pointer = prog.type("struct inet_sock *")
    processes = 0
    tuples = []
    tasks = prog["init_task"].tasks.address_of_()
    for task in list_for_each_entry("struct task_struct", tasks, "tasks"):
        processes += 1
        for _, file in for_each_file(task):
            # A bit without a file: a descriptor that is reserved, as inside accept().
            if not file or file.f_op.value_() != socket_file_ops:
                continue
            sock = cast(socket_pointer, file.private_data).sk.read_()
            if not sock:
                continue
            family = sock.__sk_common.skc_family.value_()
            if family not in (AF_INET, AF_INET6):
                continue
            kind = sock.sk_type.value_()
            protocol = sock.sk_protocol.value_()
            if not is_flow(kind, protocol):
                continue
            inet = cast(inet_sock_pointer, sock)
            tuples.append(
                (
                    sock.value_(),
                    sock.__sk_common.skc_rcv_saddr.value_(),
                    sock.__sk_common.skc_daddr.value_(),
                    swapped(inet.inet_sport.value_()),
                    swapped(inet.sk.__sk_common.skc_dport.value_()),
                    0 if kind == SOCK_RAW else protocol,
                    family,
                )
            )
    return processes, tuples


def timed(work, *arguments):
    begin = time.perf_counter()
    result = work(*arguments)
    return result, (time.perf_counter() - begin) * 1e3


def main(image, vmlinux, runs):
    starts, walks = [], []
    for _ in range(runs):
        prog, milliseconds = timed(start, image, vmlinux)
        starts.append(milliseconds)
        # The first walk after a start also reads the types it comes across: a poller's later ones do not.
        walk(prog)
        (processes, tuples), milliseconds = timed(walk, prog)
        walks.append(milliseconds)
    print(json.dumps({"what": "drgn: start", "times": starts}))
    print(json.dumps({"what": "drgn: fd side", "times": walks}))
    ports = sum(local + 3 * remote for _, _, _, local, remote, protocol, _ in tuples if protocol)
    print(json.dumps({"processes": processes, "owners": len(tuples), "ports": ports}))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: walk.py IMAGE VMLINUX RUNS")
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
