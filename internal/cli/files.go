package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

func newCat() *cobra.Command {
	return &cobra.Command{
		Use:   "cat VM:PATH...",
		Short: "Print files of a VM",
		Long: `Print what is in files of the guest, byte for byte, one after the other. Devices and
FIFOs are refused: use 'holt exec'.`,
		Example: `  holt cat web:/etc/os-release
  holt cat web:/proc/meminfo
  holt cat web:/data/dump.gz | gunzip | less`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeGuestPath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return onGuestPaths(cmd.Context(), args, func(fsys *holt.FS, g guestPath) error {
				file, err := fsys.Open(g.name())
				if err != nil {
					return err
				}
				defer file.Close()
				_, err = io.Copy(cmd.OutOrStdout(), file)
				return err
			})
		},
	}
}

// modeFlag is a file's permission bits, in octal.
type modeFlag fs.FileMode

// Set implements pflag.Value.
func (m *modeFlag) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o7777 {
		return errors.New("must be an octal number up to 7777, such as 644")
	}
	mode := fs.FileMode(n).Perm()
	for _, s := range specialBits {
		if uint32(n)&s.octal != 0 {
			mode |= s.bit
		}
	}
	*m = modeFlag(mode)
	return nil
}

// String implements pflag.Value.
func (m *modeFlag) String() string { return octal(fs.FileMode(*m)) }

// Type implements pflag.Value.
func (*modeFlag) Type() string { return "mode" }

type writeFlags struct {
	appended, atomic bool
	mode             modeFlag
}

func newWrite() *cobra.Command {
	f := &writeFlags{mode: 0o644}
	cmd := &cobra.Command{
		Use:   "write [flags] VM:PATH",
		Short: "Write standard input to a file of a VM",
		Long: `Write standard input to a file of the guest, as '>' in a shell does: an existing file
is emptied first and keeps its mode, owner and names, and a device or a file of /proc or
/sys is written to. With --atomic, the file is made anew beside the old one, and takes
its place when it is complete.`,
		Example: `  echo 192.0.2.7 db | holt write -a web:/etc/hosts
  holt write --mode 600 web:/root/key < key
  echo 1 | holt write web:/proc/sys/net/ipv4/ip_forward
  make config | holt write --atomic web:/etc/app.conf`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeGuestPath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return onGuestPaths(cmd.Context(), args, func(fsys *holt.FS, g guestPath) error {
				return f.run(fsys, g.absolute(), cmd.InOrStdin())
			})
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.BoolVarP(&f.appended, "append", "a", false, "write at the end of an existing file")
	fl.BoolVar(&f.atomic, "atomic", false, "replace the file at once, by a new one of root's")
	fl.Var(&f.mode, "mode", "permissions of a new file, in octal: `MODE`")
	cmd.MarkFlagsMutuallyExclusive("append", "atomic")
	return cmd
}

func (f *writeFlags) run(fsys *holt.FS, name string, from io.Reader) error {
	switch {
	case f.appended:
		return f.write(fsys, name, os.O_CREATE|os.O_APPEND, from)
	case !f.atomic:
		return f.write(fsys, name, os.O_CREATE|os.O_TRUNC, from)
	}
	temporary := path.Join(path.Dir(name), ".holt-write-"+rand.Text())
	err := f.write(fsys, temporary, os.O_CREATE|os.O_EXCL, from)
	if err == nil {
		err = fsys.Rename(temporary, name)
	}
	if err != nil {
		_ = fsys.Remove(temporary) // if it was made
	}
	return err
}

func (f *writeFlags) write(fsys *holt.FS, name string, flag int, from io.Reader) error {
	file, err := fsys.OpenFile(name, os.O_WRONLY|flag, fs.FileMode(f.mode))
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}

func newMkdir() *cobra.Command {
	var parents bool
	mode := modeFlag(0o755)
	cmd := &cobra.Command{
		Use:               "mkdir [flags] VM:PATH...",
		Short:             "Make directories in a VM",
		Example:           `  holt mkdir -p web:/srv/www/img`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeGuestPath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return onGuestPaths(cmd.Context(), args, func(fsys *holt.FS, g guestPath) error {
				if parents {
					return fsys.MkdirAll(g.absolute(), fs.FileMode(mode))
				}
				return fsys.Mkdir(g.absolute(), fs.FileMode(mode))
			})
		},
	}
	cmd.Flags().BoolVarP(&parents, "parents", "p", false, "make missing directories above too; an existing one is no error")
	cmd.Flags().Var(&mode, "mode", "permissions, in octal: `MODE`")
	return cmd
}

func newMv() *cobra.Command {
	return &cobra.Command{
		Use:   "mv VM:FROM TO",
		Short: "Rename or move a file in a VM",
		Long: `Give a file or directory of the guest another name, in place of what has it. If TO is a
directory, it is moved into that. Both must be on one file system of the guest. TO may
also be written VM:TO, with the same VM.`,
		Example: `  holt mv web:/etc/app.conf.new /etc/app.conf
  holt mv web:/tmp/upload web:/srv/`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeGuestPath,
		RunE: func(cmd *cobra.Command, args []string) error {
			to, ok := parseGuestPath(args[1])
			if !ok {
				to = guestPath{path: args[1]}
			}
			vm, from, err := openGuestPath(cmd.Context(), args[0])
			switch {
			case err != nil:
				return err
			case ok && to.vm != from.vm:
				return fmt.Errorf("%s and %s are two VMs: copy with `holt cp %s - | holt cp - %s`", from.vm, to.vm, args[0], args[1])
			}
			fsys, target := vm.FS().WithContext(cmd.Context()), to.absolute()
			if info, err := fsys.Stat(to.name()); err == nil && info.IsDir() {
				target = path.Join(target, path.Base(from.absolute()))
			}
			return fileFailure("", fsys.Rename(from.absolute(), target))
		},
	}
}

func newRmFile() *cobra.Command {
	var recursive, force bool
	cmd := &cobra.Command{
		Use:   "rm-file [flags] VM:PATH...",
		Short: "Remove files in a VM",
		Long:  `Remove files and empty directories of the guest; with -r, directories with all that is in them.`,
		Example: `  holt rm-file web:/tmp/upload
  holt rm-file -rf web:/var/cache/app`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeGuestPath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return onGuestPaths(cmd.Context(), args, func(fsys *holt.FS, g guestPath) error {
				return removeFile(fsys, g, recursive, force)
			})
		},
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "remove directories with all that is in them")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "what is not there is no error")
	return cmd
}

func removeFile(fsys *holt.FS, g guestPath, recursive, force bool) error {
	if !recursive {
		err := fsys.Remove(g.absolute())
		if force && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if failed, ok := errors.AsType[*fs.PathError](err); ok && errors.Is(err, syscall.ENOTEMPTY) {
			failed.Err = fmt.Errorf("%w (-r removes it with all that is in it)", failed.Err)
		}
		return err
	}
	if !force {
		if _, err := fsys.Lstat(g.name()); err != nil {
			return err
		}
	}
	return fsys.RemoveAll(g.absolute())
}
