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
