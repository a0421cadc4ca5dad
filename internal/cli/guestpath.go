package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// guestPath is a VM:PATH on the command line.
type guestPath struct{ vm, path string }

// parseGuestPath reports whether arg is a VM:PATH. A path of the host with a colon before
// its first slash is written with ./ before it.
func parseGuestPath(arg string) (guestPath, bool) {
	vm, name, ok := strings.Cut(arg, ":")
	if !ok || vm == "" || strings.Contains(vm, "/") {
		return guestPath{}, false
	}
	return guestPath{vm, name}, true
}

// name is the path as io/fs wants it. One that is relative is so to the guest's /.
func (g guestPath) name() string {
	if name := strings.TrimPrefix(path.Clean("/"+g.path), "/"); name != "" {
		return name
	}
	return "."
}

// absolute is the path from the guest's / on.
func (g guestPath) absolute() string { return path.Clean("/" + g.path) }

// openGuestPath opens the VM that arg names.
func openGuestPath(ctx context.Context, arg string) (*holt.VM, guestPath, error) {
	g, ok := parseGuestPath(arg)
	if !ok {
		return nil, g, fmt.Errorf("%q: must be VM:PATH", arg)
	}
	vm, err := openVM(ctx, g.vm)
	return vm, g, err
}

// onGuestPaths does f to each of the VM:PATHs. When it is a file that is to blame for an
// error, it goes on with the next, and all errors are one at the end.
func onGuestPaths(ctx context.Context, args []string, f func(*holt.FS, guestPath) error) error {
	var errs []error
	for _, arg := range args {
		vm, g, err := openGuestPath(ctx, arg)
		if err == nil {
			err = f(vm.FS().WithContext(ctx), g)
		}
		if err = fileFailure(arg, err); err == nil {
			continue
		}
		if _, ok := errors.AsType[*exitError](err); !ok {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil
	}
	return &exitError{statusFileFailed, errors.Join(errs...)}
}

// statusFileFailed is the exit status of a command that could not do something with a
// file, as of the classic tools.
const statusFileFailed = 1

// fileFailure is the error of something that was done with a VM:PATH, named as the user
// did.
func fileFailure(arg string, err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok && arg != "" {
		failed.Path = arg
	}
	if err != nil && aboutFile(err) {
		return &exitError{statusFileFailed, err}
	}
	return err
}

// aboutFile reports whether err says something about a file, and not about the VM or Holt.
func aboutFile(err error) bool {
	if said, ok := errors.AsType[*agentproto.Error](err); ok {
		switch said.Kind {
		case agentproto.KindBusy, agentproto.KindVersion, agentproto.KindProtocol:
			return false
		}
		return true
	}
	for _, own := range []error{holt.ErrNotFound, holt.ErrNotRunning, agentclient.ErrLost, context.Canceled} {
		if errors.Is(err, own) {
			return false
		}
	}
	_, violation := errors.AsType[*agentproto.ViolationError](err)
	_, died := errors.AsType[*holt.GuestError](err)
	_, paused := errors.AsType[*holt.StateError](err)
	if violation || died || paused {
		return false
	}
	_, ofPath := errors.AsType[*fs.PathError](err)
	_, ofLink := errors.AsType[*os.LinkError](err)
	_, errno := errors.AsType[syscall.Errno](err)
	return ofPath || ofLink || errno
}

// completeGuestPath offers the VMs' names with a colon to the shell.
func completeGuestPath(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	names, directive := completeVMs(cmd, args, begun)
	for i := range names {
		names[i] += ":"
	}
	return names, directive | cobra.ShellCompDirectiveNoSpace
}
