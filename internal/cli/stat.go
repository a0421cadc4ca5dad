package cli

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

func newStat() *cobra.Command {
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:   "stat [flags] VM:PATH...",
		Short: "Show what is known of files of a VM",
		Example: `  holt stat web:/etc/passwd
  holt stat -L --json web:/dev/disk/by-id/virtio-disk0 | jq -r .device`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeGuestPath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return onGuestPaths(cmd.Context(), args, func(fsys *holt.FS, g guestPath) error {
				look := fsys.Lstat
				if follow {
					look = fsys.Stat
				}
				info, err := look(g.name())
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				line := fileJSON(g.absolute(), info)
				if asJSON {
					return writeJSONLine(out, line)
				}
				_, err = fmt.Fprint(out, line.text(info.Mode()))
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "dereference", "L", false, "show what a symbolic link leads to")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, a line for each")
	return cmd
}

// text is a file for a person.
func (l fileLine) text(mode fs.FileMode) string {
	var b strings.Builder
	row := func(what, value string) { fmt.Fprintf(&b, "%8s: %s\n", what, value) }
	name := quoted(string(l.Path))
	if l.Target != "" {
		name += " -> " + quoted(string(l.Target))
	}
	row("Path", name)
	kind := l.Type
	if l.Device != "" {
		kind += " " + l.Device
	}
	row("Type", kind)
	row("Size", fmt.Sprint(l.Size))
	row("Mode", l.Mode+" "+lsMode(mode))
	row("Owner", fmt.Sprintf("%d:%d", l.UID, l.GID))
	row("Modified", l.Modified.Local().Format("2006-01-02 15:04:05.999999999 -0700"))
	row("Inode", fmt.Sprintf("%d, links %d", l.Inode, l.Links))
	return b.String()
}

// fileTypes are what types of files are called, and their letter in ls -l.
var fileTypes = map[fs.FileMode]struct{ name, letter string }{
	0:                                 {"file", "-"},
	fs.ModeDir:                        {"directory", "d"},
	fs.ModeSymlink:                    {"symlink", "l"},
	fs.ModeNamedPipe:                  {"fifo", "p"},
	fs.ModeSocket:                     {"socket", "s"},
	fs.ModeDevice:                     {"block device", "b"},
	fs.ModeDevice | fs.ModeCharDevice: {"character device", "c"},
	fs.ModeIrregular:                  {"unknown", "?"},
}

func typeName(m fs.FileMode) string { return fileTypes[m.Type()].name }

// specialBits are the bits of a mode beside the permissions: their value in octal, and
// where and how ls -l shows them.
var specialBits = []struct {
	bit    fs.FileMode
	octal  uint32
	at     int
	letter byte
}{{fs.ModeSetuid, 0o4000, 3, 's'}, {fs.ModeSetgid, 0o2000, 6, 's'}, {fs.ModeSticky, 0o1000, 9, 't'}}

// lsMode is a mode in ten letters, as of ls -l.
func lsMode(m fs.FileMode) string {
	text := []byte(fileTypes[m.Type()].letter + m.Perm().String()[1:])
	for _, s := range specialBits {
		switch {
		case m&s.bit == 0:
		case text[s.at] == 'x':
			text[s.at] = s.letter
		default:
			text[s.at] = s.letter - 'a' + 'A' // it is of no use without x
		}
	}
	return string(text)
}

// octal is a mode's bits without the type, as chmod(1) takes them.
func octal(m fs.FileMode) string {
	n := uint32(m.Perm())
	for _, s := range specialBits {
		if m&s.bit != 0 {
			n |= s.octal
		}
	}
	return fmt.Sprintf("%04o", n)
}
