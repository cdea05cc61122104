# Runs inside the sandbox before any program does, and prints the nonce only where every property
# holds, else the names of those that do not. NONCE, HOST (the namespaces outside) and CPU (the
# limits in seconds) are put before it.
import ctypes
import errno
import os
import resource
import socket
import stat

bad = []
libc = ctypes.CDLL(None, use_errno=True)


def need(holds, name):
    if not holds and name not in bad:
        bad.append(name)


def refused(name, errors, call, *args):
    try:
        call(*args)
        need(False, name)
    except OSError as e:
        need(e.errno in errors, name)


def system_call(number, *args):
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, args)) == -1:
        raise OSError(ctypes.get_errno(), "")


def make_file(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def read(path):
    with open(path) as f:
        return f.read()


# Who we are.
status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())
need(os.getresuid() == (65534,) * 3 and os.getresgid() == (65534,) * 3, "user")
need(set(os.getgroups()) <= {65534}, "groups")
for key in "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
    need(int(status[key], 16) == 0, "capabilities")
need(status["NoNewPrivs"].strip() == "1", "no_new_privs")
need(status["Seccomp"].strip() == "2", "seccomp")
need(os.getsid(0) != 0, "session")  # 0: one of outside
need(read("/proc/self/oom_score_adj").strip() == "1000", "oom_score_adj")

# What can be seen.
for name, link in HOST.items():
    need(os.readlink("/proc/self/ns/" + name) != link, name + " namespace")
need({p for p in os.listdir("/proc") if p.isdigit()} == {"1", str(os.getpid())}, "processes")
need(set(os.listdir("/")) == {"bin", "dev", "lib", "lib64", "proc", "tmp", "usr"}, "root folder")
need(os.listdir("/usr/local") == [], "/usr/local")
need(os.uname().nodename == "sandbox", "host name")
need(dict(os.environ) == {"PATH": "/usr/bin", "HOME": "/tmp", "LANG": "C.UTF-8",
                          "PYTHONHASHSEED": "0", "PWD": "/tmp"}, "environment")
# bwrap has a capability or two, and files; it must not be among the processes.
need(read("/proc/1/cmdline").split("\0")[0] == "/usr/bin/python3", "first process")
need([line.split(":")[0].strip() for line in read("/proc/net/dev").splitlines()[2:]] == ["lo"],
     "network devices")

# What is open: no file beside /dev/null, two pipes and the control socket.
fds = [fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd/%d" % fd)
       or fd < 4]
need(sorted(fds) == [0, 1, 2, 3], "open files")
need(os.path.samestat(os.fstat(0), os.stat("/dev/null")), "stdin")
need(stat.S_ISFIFO(os.fstat(1).st_mode) and stat.S_ISFIFO(os.fstat(2).st_mode), "stdout")
need(stat.S_ISSOCK(os.fstat(3).st_mode), "control socket")
refused("terminal", (errno.ENXIO, errno.ENOENT, errno.EACCES), os.open, "/dev/tty", os.O_RDWR)

# What can be written.
for folder in "/", "/usr", "/usr/bin", "/usr/local", "/dev":
    refused("writing to " + folder, (errno.EROFS,), make_file, os.path.join(folder, "x"))
refused("/proc/sys", (errno.EACCES, errno.EROFS), os.open, "/proc/sys/kernel/core_pattern",
        os.O_WRONLY)
for folder, size in ("/tmp", 16 << 20), ("/dev/shm", 4 << 20):
    try:
        need(os.listdir(folder) == [], folder)
        fs = os.statvfs(folder)
        need(fs.f_blocks * fs.f_frsize == size, "size of " + folder)
        make_file(folder + "/x")
        os.unlink(folder + "/x")
    except OSError:
        need(False, folder)

# What can be asked of the kernel: 272 unshare, 101 ptrace, 165 mount, 319 memfd_create, 250 keyctl,
# 56 clone, 435 clone3, 425 io_uring_setup, 451 the first call that the filter does not know.
NEWUSER = 0x10000000
for number, args in ((272, (NEWUSER,)), (101, (0, 0, 0, 0)), (165, (0, 0, 0, 0, 0)), (319, (0, 0)),
                     (250, (0, -3, 0)), (56, (NEWUSER | 17, 0, 0, 0, 0))):
    refused("system call %d" % number, (errno.EPERM,), system_call, number, *args)
for number in 435, 425, 451:
    refused("system call %d" % number, (errno.ENOSYS,), system_call, number, 0, 0, 0, 0)
for family in 2, 10, 16, 17, 40:
    refused("sockets", (errno.EAFNOSUPPORT,), socket.socket, family, socket.SOCK_DGRAM)

for name, want in (("AS", (512 << 20,) * 2), ("FSIZE", (8 << 20,) * 2), ("NPROC", (16,) * 2),
                   ("NOFILE", (64,) * 2), ("CORE", (0,) * 2), ("MEMLOCK", (0,) * 2),
                   ("MSGQUEUE", (0,) * 2), ("CPU", CPU)):
    need(resource.getrlimit(getattr(resource, "RLIMIT_" + name, 12)) == want, "limit " + name)

print(", ".join(bad) if bad else NONCE, end="", flush=True)
