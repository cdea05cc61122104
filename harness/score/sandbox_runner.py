# What python3 runs inside the sandbox: takes a program from the control socket (see sandbox.c),
# runs it in empty globals, and says what came of it. Every word goes with the nonce, which the
# program is not handed; nothing stops one that looks for it in this very interpreter.
def run():
    import io
    import posix
    import resource
    import sys

    control = 3
    own_words = "passed", "timeout", "killed"
    read, write, getpid, _exit = posix.read, posix.write, posix.getpid, posix._exit

    def receive(size):
        data = bytearray()
        while len(data) < size:
            part = read(control, size - len(data))
            if not part:
                _exit(1)
            data += part
        return bytes(data)

    class Stdin(io.StringIO):
        def read(self, *_):
            raise OSError("there is no standard input")

        readline = readlines = read

        def readable(self):
            return False

    # The name of its class; of a nearest base where the name could not be stored as it is, or
    # would be taken for another outcome.
    def name_of(e):
        for kind in type(e).__mro__:
            name = kind.__name__
            if name.isascii() and name.isidentifier() and len(name) < 64 and name not in own_words:
                return name.encode()

    nonce = receive(32)
    program = receive(int(receive(16)))

    # Processes are counted by user namespace, so bwrap cannot begin with this limit; the others it
    # has brought along.
    resource.setrlimit(resource.RLIMIT_NPROC, (16, 16))
    # Where memory runs out, the kernel is to take it back from here, not from the host's process.
    with open("/proc/self/oom_score_adj", "w") as f:
        f.write("1000")
    sys.path[:] = [p for p in sys.path if p]
    sys.stdin = Stdin()
    sys.stdout.reconfigure(errors="backslashreplace")
    # Two processes: this one is pid 1 inside, which would be deaf to most signals, and with which
    # all others end. It tells how the other one ended by ending likewise.
    other = posix.fork()
    while other:
        pid, status = posix.wait()
        if pid == other:
            code = posix.waitstatus_to_exitcode(status)
            _exit(code if code >= 0 else 128 - code)
    me = getpid()

    # A child of the program that gets to its end says nothing.
    def tell(word):
        if getpid() == me:
            write(control, b"\n" + nonce + b" " + word + b"\n")

    tell(b"started")
    try:
        exec(program.decode(), {})
        word = b"passed"
    except BaseException as e:
        try:
            word = name_of(e)
        except BaseException:
            word = b"BaseException"
        word = b"raised " + word
    tell(word)
    # The host now kills the sandbox: waiting for that leaves no process to be reaped by others.
    while getpid() == me and read(control, 1):
        pass
    _exit(0)


run()
