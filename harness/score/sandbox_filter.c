/*
 * sandbox_filter.c: the system calls that a program in the sandbox may not make, as a BPF program.
 *
 * Most of what is named here is already out of reach without privileges; the filter is there for
 * the day when one of these has a hole. It also closes what namespaces leave open: sockets of
 * families that have none, and user namespaces, in which a program has privileges again.
 *
 * Invariant: a call that is newer than this file does not exist inside.
 * Leaves out: a list of all calls that are allowed, which each new libc would break; processors
 * other than x86-64, where numbers and arguments are others.
 */
#include "score/sandbox_impl.h"

#ifndef __x86_64__

int sandbox_filter(struct buf *out, struct buf *err)
{
    (void)out;
    return fail(err, "generated code is run on x86-64 only: the sandbox has no list of the system "
                     "calls of other processors");
}

#else

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* Refused with EPERM. */
static const unsigned denied[] = {
    // other processes
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_getfd, SYS_kcmp,
    SYS_perf_event_open,
    // memory and messages that outlive a process, and files without a folder
    SYS_shmget, SYS_shmat, SYS_semget, SYS_msgget, SYS_mq_open, SYS_add_key, SYS_request_key,
    SYS_keyctl, SYS_memfd_create, SYS_memfd_secret,
    // namespaces, mounts, files by handle
    SYS_unshare, SYS_setns, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_quotactl,
    SYS_quotactl_fd, SYS_name_to_handle_at, SYS_open_by_handle_at, SYS_fanotify_init,
    // the kernel itself
    SYS_bpf, SYS_userfaultfd, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load,
    SYS_kexec_file_load, SYS_swapon, SYS_swapoff, SYS_acct, SYS_syslog, SYS_reboot, SYS_personality,
    SYS_iopl, SYS_ioperm
};

/* Refused with ENOSYS: a libc that finds one of these missing does without. */
static const unsigned absent[] = { SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
                                   SYS_open_tree,      SYS_move_mount,     SYS_fsopen,
                                   SYS_fsconfig,       SYS_fsmount,        SYS_fspick,
                                   SYS_clone3,         SYS_mount_setattr };

/* Numbers beyond are of system calls that this list has not seen. */
#define LAST_KNOWN 450  /* set_mempolicy_home_node, Linux 5.17 */
#define X32 0x40000000u /* the bit that marks calls of the x32 ABI, which has numbers of its own */
#define NEW_NAMESPACES                                                                            \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
     CLONE_NEWNET)

static void add(struct buf *out, unsigned code, unsigned jt, unsigned jf, uint32_t k)
{
    struct sock_filter f = { (uint16_t)code, (uint8_t)jt, (uint8_t)jf, k };
    buf_add(out, &f, sizeof(f));
}

static void add_load(struct buf *out, size_t offset)
{
    add(out, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void add_return(struct buf *out, uint32_t action)
{
    add(out, BPF_RET | BPF_K, 0, 0, action);
}

static void add_refusal(struct buf *out, unsigned number, int error)
{
    add(out, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number);
    add_return(out, SECCOMP_RET_ERRNO | (uint32_t)error);
}

/* The call is refused where a comparison of its first argument's low half says `refuse`. */
static void add_first_argument(struct buf *out, unsigned number, unsigned comparison, uint32_t k,
                               bool refuse, int error)
{
    add(out, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, number);
    add_load(out, offsetof(struct seccomp_data, args));
    add(out, BPF_JMP | comparison | BPF_K, !refuse, refuse, k);
    add_return(out, SECCOMP_RET_ERRNO | (uint32_t)error);
    add_return(out, SECCOMP_RET_ALLOW);
}

int sandbox_filter(struct buf *out, struct buf *err)
{
    (void)err;
    add_load(out, offsetof(struct seccomp_data, arch));
    add(out, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
    add_return(out, SECCOMP_RET_KILL_PROCESS);
    add_load(out, offsetof(struct seccomp_data, nr));
    add(out, BPF_JMP | BPF_JGE | BPF_K, 0, 1, X32);
    add_return(out, SECCOMP_RET_KILL_PROCESS);
    add(out, BPF_JMP | BPF_JGT | BPF_K, 0, 1, LAST_KNOWN);
    add_return(out, SECCOMP_RET_ERRNO | ENOSYS);
    for (size_t i = 0; i < ARRAY_LEN(denied); i++)
        add_refusal(out, denied[i], EPERM);
    for (size_t i = 0; i < ARRAY_LEN(absent); i++)
        add_refusal(out, absent[i], ENOSYS);
    // Network namespaces do not cover every family (AF_VSOCK); only sockets of its own are left.
    add_first_argument(out, SYS_socket, BPF_JEQ, AF_UNIX, false, EAFNOSUPPORT);
    add_first_argument(out, SYS_socketpair, BPF_JEQ, AF_UNIX, false, EAFNOSUPPORT);
    add_first_argument(out, SYS_clone, BPF_JSET, NEW_NAMESPACES, true, EPERM);
    add_return(out, SECCOMP_RET_ALLOW);
    return 0;
}

#endif
