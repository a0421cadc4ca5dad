package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/atomicfile"
)

func newSnapshotExport() *cobra.Command {
	var plain, quiet bool
	cmd := &cobra.Command{
		Use:   "export [flags] NAME FILE|-",
		Short: "Write a snapshot to an archive, for another host",
		Long: `Write a snapshot to FILE, or to standard output, as an archive that 'holt snapshot import'
reads. One that has the changes since another is made whole. FILE appears when it is
complete, in place of what was there.

An archive has all that the guest had in memory: passwords and keys, too. Only you may
read FILE. Directories that were shared with the guest, and read-only disks, are not in it.`,
		Example: `  holt snapshot export warm warm.holt
  holt snapshot export warm - | ssh HOST holt snapshot import -`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeOneSnapshot,
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == "-" && isTerminal(cmd.OutOrStdout()) {
				return errors.New("an archive is not for a terminal: pipe or redirect standard output")
			}
			return untilInterrupted(cmd, func(ctx context.Context) error {
				s, err := holt.OpenSnapshot(ctx, args[0])
				if err != nil {
					return err
				}
				m := newMeter(args[0], 0, quiet)
				defer m.bar.clear()
				export := func(w io.Writer) error { return s.Export(ctx, io.MultiWriter(w, m), !plain) }
				if args[1] == "-" {
					return export(cmd.OutOrStdout())
				}
				return writeArchive(args[1], export)
			})
		},
	}
	cmd.Flags().BoolVar(&plain, "no-compress", false, "do not compress the archive: faster, and larger")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	return cmd
}

// writeArchive makes a file of what export writes, or leaves nothing.
func writeArchive(path string, export func(io.Writer) error) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file: write to standard output with -, and redirect that", path)
	}
	f, err := atomicfile.Create(path, 0o600)
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	defer f.Close()
	if err := export(f); err != nil {
		return err
	}
	return f.Commit()
}

func newSnapshotImport() *cobra.Command {
	var name string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "import [flags] FILE|-",
		Short: "Take a snapshot from an archive",
		Long: `Take a snapshot from FILE, or from standard input, as 'holt snapshot export' wrote it, and
print its name or id. It gets NAME or, without one, the name that it had. Nothing is
left of an archive that is damaged or not complete.

The checksums find damage, not forgery: a VM that is restored runs whatever is in the
snapshot, on the network and in the directories that you give it.`,
		Example: `  holt snapshot import warm.holt
  holt snapshot import --name theirs - < warm.holt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return untilInterrupted(cmd, func(ctx context.Context) error {
				in, size, err := openArchive(cmd, args[0])
				if err != nil {
					return err
				}
				defer in.Close()
				m := newMeter(args[0], size, quiet)
				s, err := holt.ImportSnapshot(ctx, io.TeeReader(in, m), name)
				m.bar.clear()
				if err != nil {
					return err
				}
				info, err := s.Info()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), info.Label())
				return err
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of the snapshot")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	return cmd
}

// openArchive opens the file of an archive, of which it returns the size, or standard
// input, of which nobody knows it.
func openArchive(cmd *cobra.Command, path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		in := cmd.InOrStdin()
		if file, ok := in.(*os.File); ok && isTerminal(file) {
			return nil, 0, errors.New("an archive is not typed: pipe one in, or name a file")
		}
		return io.NopCloser(in), 0, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// meter shows how many bytes have passed it.
type meter struct {
	bar    *copyBar
	status holt.CopyStatus
}

// newMeter returns a meter of an archive, of which total bytes are expected, or nobody
// knows if that is 0.
func newMeter(name string, total int64, quiet bool) *meter {
	return &meter{bar: newCopyBar(os.Stderr, quiet), status: holt.CopyStatus{Path: name, Total: total}}
}

// Write implements io.Writer.
func (m *meter) Write(b []byte) (int, error) {
	m.status.Bytes += int64(len(b))
	if m.bar != nil {
		m.bar.show(m.status)
	}
	return len(b), nil
}
