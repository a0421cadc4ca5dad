// Package holt runs programs in microVMs.
//
// A caller gives a root directory and a command. Holt boots a Linux guest
// around them, streams the program's output and returns its exit status; the
// program's boundary is the virtual machine's, not the kernel's.
//
//	vm, err := holt.NewBuilder().RootPath("/srv/alpine").RAMMiB(512).ExecPath("/bin/echo").Args("hello").Build()
//	if err != nil { … }
//	vm.Stdout = os.Stdout
//	err = vm.Run(ctx) // nil, or *holt.ExitError with the program's status
//
// # VMs
//
// A [VM] that [New] or [Builder.Build] made is shaped like [os/exec.Cmd]. It runs once
// and ends with its process. One that [Create] made is kept: it has a directory of its
// own and perhaps a name, lives on when its process ends, and is started, stopped and
// removed by whichever process finds it with [Open] or [List]. There is no daemon. Each
// VM that runs has a monitor, a process of the holt binary, which holds the lock that
// says so.
//
// In a VM that runs, [VM.Exec] runs programs beside the main one, again in the shape of
// os/exec; [VM.FS] is its file system for io/fs, which can be written too; and
// [VM.CopyTo] and [VM.CopyFrom] copy trees. [VM.Logs], [VM.Stats] and [Events] tell what
// goes on. [RunCode] is all of this in one call, for a piece of source code.
//
// With the kvm backend a VM that runs can be saved ([VM.Snapshot], [Restore]), copied
// ([VM.Fork]) and kept ready for work ([NewPool]).
//
// # Errors
//
// A program that fails is an [*ExitError]. A VM that fails is a [*GuestError], with the
// reason and the last lines of the guest's console; calls that wait for a guest get it
// within two seconds of its end. What cannot be done in a VM's state is a [*StateError].
// [ExitStatus] is the exit status with which the command line would end.
//
// # The guest is not trusted
//
// Its answers are bounded and checked, and cannot do harm beyond being untrue: output,
// names of files, content, figures and exit statuses are what it says. They may hold any
// bytes. docs/security.md lists what a guest can reach.
//
// # Configuration
//
// [Config] describes one microVM. It is a plain value with a public JSON form,
// so it can be stored, compared and sent to another process. [Builder] is the
// fluent way to the same value: its methods take what a person writes on a
// command line ("8080:80", "/home:/guest/mount"), and it keeps every mistake
// until the end instead of stopping at the first. docs/config.md lists all
// fields and grammars.
//
// Configuration is checked before anything is started. [Config.Validate]
// reports all problems in one error; each is a [*FieldError] that names the
// field by its JSON name, the value, and what would be accepted.
//
// # Paths
//
// A Config holds paths of two worlds. Host paths (kernel_path, rootfs_path,
// root_path, console_output and the left side of mapped_dirs) are resolved
// against the working directory of the process; a Builder makes them absolute.
// Guest paths (exec_path, workdir_path and the right side of mapped_dirs) mean
// nothing on the host and are never looked up there.
package holt
