#!/usr/bin/env python3
"""Makes the *.pcapng files beside it: small MPTCP connections of the running kernel, between two network namespaces.

Needs root, iproute2, ethtool. The frames are taken on the client's two links and written as pcapng right here, so that
the files do not depend on the reader they test. See README.md for what each file shows.
"""
import atexit, ctypes, os, select, signal, socket, struct, subprocess, sys, threading, time

RUN = f"emptcp-vec{os.getpid()}"
CLIENT, SERVER = f"{RUN}-c", f"{RUN}-s"
LINKS = ("wifi", "lte")
HERE = os.path.dirname(os.path.abspath(__file__))
IPPROTO_MPTCP, ETH_P_ALL, CLONE_NEWNET, SO_TIMESTAMPNS = 262, 3, 0x40000000, 35
libc = ctypes.CDLL(None, use_errno=True)


def run(*command):
    subprocess.run(command, check=True)


def inside(namespace, action):
    """Calls action in the namespace. Sockets stay in the namespace they were made in."""
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
        try:
            return action()
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)


def sysctl(namespace, name, value):
    run("ip", "netns", "exec", namespace, "sysctl", "-qw", f"{name}={value}")


def mptcp(namespace, *words):
    run("ip", "-n", namespace, "mptcp", *words)


def remove_hosts():
    for namespace in (CLIENT, SERVER):
        subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL)


def make_hosts():
    for namespace in (CLIENT, SERVER):
        run("ip", "netns", "add", namespace)
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        sysctl(namespace, "net.ipv6.conf.all.accept_dad", 0)
        sysctl(namespace, "net.ipv6.conf.default.accept_dad", 0)
        sysctl(namespace, "net.ipv6.conf.default.accept_ra", 0)
    for number, link in enumerate(LINKS, 1):
        run("ip", "-n", CLIENT, "link", "add", link, "type", "veth", "peer", "name", link, "netns", SERVER)
        for host, namespace in ((1, CLIENT), (2, SERVER)):
            run("ip", "-n", namespace, "link", "set", link, "address", f"02:00:00:00:0{number}:0{host}")
            run("ip", "-n", namespace, "addr", "add", address(4, number, host) + "/24", "dev", link)
            run("ip", "-n", namespace, "addr", "add", address(6, number, host) + "/64", "dev", link, "nodad")
            # Frames as a wire would carry them: checksums filled in, nothing merged.
            for feature in ("tx", "gso", "tso", "gro"):
                command = ("ip", "netns", "exec", namespace, "ethtool", "-K", link, feature, "off")
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            run("ip", "-n", namespace, "link", "set", link, "up")
    for namespace in (CLIENT, SERVER):
        mptcp(namespace, "limits", "set", "subflows", "2", "add_addr_accepted", "2")
    time.sleep(1)


def address(family, link, host):
    return f"10.88.{link}.{host}" if family == 4 else f"fd88:0:0:{link}::{host}"


class Capture:
    """Frames of the client's links, until stop(). Only TCP is kept."""

    def __init__(self):
        self.frames, self.running = [], True
        self.sockets = inside(CLIENT, lambda: [self.open(link) for link in LINKS])
        self.thread = threading.Thread(target=self.loop)
        self.thread.start()

    @staticmethod
    def open(link):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind((link, 0))
        return sock

    def loop(self):
        while self.running:
            for sock in select.select(self.sockets, [], [], 0.1)[0]:
                frame, ancillary = sock.recvmsg(65535, 64)[:2]
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                kind = frame[12:14]
                if (kind == b"\x08\0" and frame[23] == 6) or (kind == b"\x86\xdd" and frame[20] == 6):
                    self.frames.append((self.sockets.index(sock), seconds * 10**9 + nanoseconds, frame))

    def stop(self, name):
        time.sleep(0.3)
        self.running = False
        self.thread.join()

        def block(kind, body):
            body += bytes(-len(body) % 4)
            return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

        def option(code, value):
            return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)

        release = os.uname().release.split("-")[0]
        out = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + option(3, f"Linux {release}".encode()) + option(0, b""))
        for link in LINKS:
            out += block(1, struct.pack("<HHI", 1, 0, 0) + option(2, link.encode()) + option(9, b"\x09") + option(0, b""))
        for link, when, frame in sorted(self.frames, key=lambda taken: taken[1]):
            head = struct.pack("<IIIII", link, when >> 32, when & 0xFFFFFFFF, len(frame), len(frame))
            out += block(6, head + frame)
        with open(os.path.join(HERE, f"{name}.pcapng"), "wb") as file:
            file.write(out)
        print(f"{name}: {len(self.frames)} frames", file=sys.stderr)


def connect(family, port, request):
    domain = socket.AF_INET if family == 4 else socket.AF_INET6

    def make():
        return socket.socket(domain, socket.SOCK_STREAM, IPPROTO_MPTCP)

    listener, client = inside(SERVER, make), inside(CLIENT, make)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0" if family == 4 else "::", port))
    listener.listen()
    client.connect((address(family, 1, 2), port))
    # Only as long as the server has sent nothing after the handshake does MP_CAPABLE carry the mapping of the first
    # data. So the endpoints, which make it speak, come later.
    client.sendall(request)
    server = listener.accept()[0]
    receive(server, len(request))
    return listener, server, client


def receive(receiver, length):
    while length > 0:
        length -= len(receiver.recv(65536))
    time.sleep(0.1)


def exchange(sender, receiver, data):
    sender.sendall(data)
    receive(receiver, len(data))


def forget_endpoints():
    """Those the kernel added by itself, too: every join leaves one behind."""
    for namespace in (CLIENT, SERVER):
        mptcp(namespace, "endpoint", "flush")


def whole_life(family):
    """Joins, an announced address and its echo, a priority, a removed address, an orderly end."""
    capture = Capture()
    listener, server, client = connect(family, 5000 + family, b"request")
    mptcp(SERVER, "endpoint", "add", address(family, 2, 2), "dev", "lte", "id", "9", "signal")
    exchange(server, client, b"response" * 12)
    time.sleep(0.5)
    mptcp(SERVER, "endpoint", "change", "id", "9", "backup")
    time.sleep(0.3)
    exchange(client, server, b"more")
    mptcp(SERVER, "endpoint", "delete", "id", "9")
    time.sleep(0.3)
    exchange(server, client, b"last")
    client.shutdown(socket.SHUT_WR)
    time.sleep(0.1)
    server.close()
    time.sleep(0.3)
    client.close()
    listener.close()
    capture.stop(f"ipv{family}")
    forget_endpoints()


def checksums_and_abort():
    """DSS checksums, an address announced with a port, a join the client starts itself, an abort by MP_FASTCLOSE."""
    for namespace in (CLIENT, SERVER):
        sysctl(namespace, "net.mptcp.checksum_enabled", 1)
    capture = Capture()
    listener, server, client = connect(4, 5010, b"checked")
    mptcp(CLIENT, "endpoint", "add", address(4, 2, 1), "dev", "lte", "id", "3", "subflow", "backup")
    mptcp(SERVER, "endpoint", "add", address(4, 2, 2), "dev", "lte", "id", "8", "signal", "port", "5100")
    exchange(server, client, b"yes")
    time.sleep(0.5)
    exchange(client, server, b"odd")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    time.sleep(0.3)
    server.close()
    listener.close()
    capture.stop("checksum-fastclose")
    forget_endpoints()
    for namespace in (CLIENT, SERVER):
        sysctl(namespace, "net.mptcp.checksum_enabled", 0)


def refused_join():
    """A join that the server's limit forbids: MP_TCPRST says so."""
    mptcp(SERVER, "limits", "set", "subflows", "0")
    capture = Capture()
    listener, server, client = connect(4, 5020, b"alone")
    mptcp(CLIENT, "endpoint", "add", address(4, 2, 1), "dev", "lte", "id", "4", "subflow")
    time.sleep(0.3)
    client.close()
    server.close()
    listener.close()
    capture.stop("refused-join")


atexit.register(remove_hosts)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
make_hosts()
whole_life(4)
whole_life(6)
checksums_and_abort()
refused_join()
