package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/agentproto"
)

type lsFlags struct{ long, all, asJSON bool }

func newLs() *cobra.Command {
	f := &lsFlags{}
	cmd := &cobra.Command{
		Use:   "ls [flags] VM:PATH",
		Short: "List a directory of a VM",
		Long: `List what is in a directory of the guest, a name per line, sorted by its bytes.

On a terminal, names that are not plain words are quoted. With --json, names that are
not UTF-8 are {"base64": "..."}.`,
		Example: `  holt ls web:/etc
  holt ls -la web:/root
  holt ls --json web:/var/log | jq -r 'select(.size > 1e6).path'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeGuestPath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return onGuestPaths(cmd.Context(), args, func(fsys *holt.FS, g guestPath) error {
				return f.run(cmd.OutOrStdout(), fsys, g)
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.long, "long", "l", false, "show mode, links, user, group, size and time too")
	fl.BoolVarP(&f.all, "all", "a", false, "show names that begin with a dot too")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON, a line for each")
	return cmd
}

// listed is one line of a list.
type listed struct {
	path string // absolute
	name string // that is shown
	info fs.FileInfo
}

func (f *lsFlags) run(out io.Writer, fsys *holt.FS, g guestPath) error {
	var list []listed
	entries, err := fsys.ReadDir(g.name())
	if errors.Is(err, syscall.ENOTDIR) {
		info, err := fsys.Lstat(g.name())
		if err != nil {
			return err
		}
		list = append(list, listed{g.absolute(), g.path, info})
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		if f.all || f.asJSON || !strings.HasPrefix(e.Name(), ".") {
			list = append(list, listed{path.Join(g.absolute(), e.Name()), e.Name(), info})
		}
	}
	show := func(name string) string { return name }
	if isTerminal(out) {
		show = quoted
	}
	switch {
	case f.asJSON:
		for _, l := range list {
			if err := writeJSONLine(out, fileJSON(l.path, l.info)); err != nil {
				return err
			}
		}
		return nil
	case f.long:
		return printLong(out, list, show)
	}
	for _, l := range list {
		if _, err := fmt.Fprintln(out, show(l.name)); err != nil {
			return err
		}
	}
	return nil
}

// printLong prints a line per file, in the columns of ls -l.
func printLong(out io.Writer, list []listed, show func(string) string) error {
	rows, width := make([][]string, len(list)), make([]int, 5)
	for i, l := range list {
		stat := statOf(l.info)
		size := fmt.Sprint(l.info.Size())
		if l.info.Mode()&fs.ModeDevice != 0 {
			size = fmt.Sprintf("%d,%d", unix.Major(stat.Device), unix.Minor(stat.Device))
		}
		rows[i] = []string{lsMode(l.info.Mode()), fmt.Sprint(stat.Links), fmt.Sprint(stat.UID), fmt.Sprint(stat.GID), size}
		for c, cell := range rows[i] {
			width[c] = max(width[c], len(cell))
		}
	}
	for i, l := range list {
		var line strings.Builder
		for c, cell := range rows[i] {
			fmt.Fprintf(&line, "%*s ", width[c], cell)
		}
		line.WriteString(l.info.ModTime().Format("2006-01-02 15:04 ") + show(l.name))
		if target := statOf(l.info).Target; target != "" {
			line.WriteString(" -> " + show(target))
		}
		if _, err := fmt.Fprintln(out, line.String()); err != nil {
			return err
		}
	}
	return nil
}

func statOf(info fs.FileInfo) *holt.FileStat {
	if stat, ok := info.Sys().(*holt.FileStat); ok {
		return stat
	}
	return &holt.FileStat{}
}

// fileLine is a file as JSON.
type fileLine struct {
	Path     agentproto.Name `json:"path"`
	Type     string          `json:"type"`
	Mode     string          `json:"mode"` // octal
	Size     int64           `json:"size"` // in bytes
	Modified time.Time       `json:"modified"`
	UID      uint32          `json:"uid"`
	GID      uint32          `json:"gid"`
	Links    uint64          `json:"links"`
	Inode    uint64          `json:"inode"`
	Device   string          `json:"device,omitempty"` // major:minor
	Target   agentproto.Name `json:"target,omitempty"`
}

func fileJSON(name string, info fs.FileInfo) fileLine {
	stat := statOf(info)
	line := fileLine{
		Path: agentproto.Name(name), Type: typeName(info.Mode()), Mode: octal(info.Mode()), Size: info.Size(),
		Modified: info.ModTime().UTC(), UID: stat.UID, GID: stat.GID, Links: stat.Links, Inode: stat.Inode,
		Target: agentproto.Name(stat.Target),
	}
	if info.Mode()&fs.ModeDevice != 0 {
		line.Device = fmt.Sprintf("%d:%d", unix.Major(stat.Device), unix.Minor(stat.Device))
	}
	return line
}
