package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentbin"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/hypervisor/qemu"
	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/paths"
)

// finding is one line of the doctor's report.
type finding struct {
	Name   string `json:"name"`
	Status string `json:"status"` // ok, note or missing
	Found  string `json:"found"`
	Do     string `json:"do,omitempty"` // what to do about it
}

const (
	statusOK      = "ok"
	statusNote    = "note"    // works, could be better
	statusMissing = "missing" // nothing runs without it
)

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what this host has and lacks",
		Long: `Check every prerequisite: what was found, and what to do about what is missing.
Exit status 0 if guests can run, 125 otherwise.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := paths.Default()
			if err != nil {
				return err
			}
			findings := examine(cmd.Context(), dirs)
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(findings)
			} else {
				for _, f := range findings {
					fmt.Fprintf(cmd.OutOrStdout(), "%-8s %-10s %s\n", f.Status, f.Name, f.Found)
					if f.Do != "" {
						fmt.Fprintf(cmd.OutOrStdout(), "%-8s %-10s → %s\n", "", "", f.Do)
					}
				}
			}
			for _, f := range findings {
				if f.Status == statusMissing && err == nil {
					err = &exitError{status: 125}
				}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func examine(ctx context.Context, dirs paths.Dirs) []finding {
	probe := hypervisor.ProbeKVM(ctx, dirs.Cache)
	findings := []finding{
		checkHost(), checkKVM(probe), checkQEMU(probe), checkAgent(),
		checkKernel(dirs), checkBaseRoot(dirs), checkRuntime(dirs), checkData(dirs),
		checkFiles(), checkLimits(), checkVMs(dirs),
	}
	return append(findings, checkClock(probe)...)
}

func checkHost() finding {
	f := finding{Name: "host", Status: statusOK, Found: "linux/" + runtime.GOARCH}
	if runtime.GOARCH != "amd64" {
		f.Status, f.Do = statusMissing, "Holt runs on x86-64 so far"
	}
	return f
}

func checkKVM(p hypervisor.Probe) finding {
	if p.Usable {
		return finding{Name: "kvm", Status: statusOK, Found: p.Detail + ": guests run on Holt's own monitor"}
	}
	return finding{"kvm", statusNote, p.Detail, "guests run under QEMU's software emulation, which is slower"}
}

// checkQEMU looks for what runs guests where KVM does not.
func checkQEMU(p hypervisor.Probe) finding {
	_, err := qemu.New(false)
	switch {
	case err == nil:
		return finding{Name: "qemu", Status: statusOK, Found: "installed"}
	case p.Usable:
		return finding{"qemu", statusNote, "not found", "nothing, unless you want --backend qemu: " + err.Error()}
	}
	return finding{"qemu", statusMissing, "not found", err.Error()}
}

func checkAgent() finding {
	agent, err := agentbin.Find()
	if err != nil {
		return finding{"agent", statusMissing, "not in this binary", err.Error()}
	}
	b, err := agent.Read()
	if err != nil {
		return finding{"agent", statusMissing, "cannot be read", err.Error()}
	}
	return finding{Name: "agent", Status: statusOK, Found: fmt.Sprintf("%d KiB", len(b)>>10)}
}

func checkKernel(dirs paths.Dirs) finding {
	k, err := kernel.Open(dirs).Default()
	if err != nil {
		return finding{"kernel", statusMissing, "none that can be used", err.Error()}
	}
	return finding{Name: "kernel", Status: statusOK, Found: fmt.Sprintf("%s (%s)", k.Name, k.Source)}
}

func checkBaseRoot(dirs paths.Dirs) finding {
	root := dirs.BaseRoot()
	if _, err := os.Stat(root); err != nil {
		return finding{"root", statusNote, "no base root", "run `holt setup`, or always use --rootfs"}
	}
	return finding{Name: "root", Status: statusOK, Found: root}
}

func checkRuntime(dirs paths.Dirs) finding {
	if err := dirs.MakeRuntime(); err != nil {
		return finding{"state", statusMissing, dirs.Runtime, err.Error()}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dirs.Runtime, &st); err != nil {
		return finding{"state", statusMissing, dirs.Runtime, err.Error()}
	}
	free := st.Bavail * uint64(st.Bsize)
	f := finding{Name: "state", Status: statusOK, Found: fmt.Sprintf("%s (%d MiB free)", dirs.Runtime, free>>20)}
	if free < 1<<20 {
		f.Status, f.Do = statusMissing, "free some space there, or move Holt's files with HOLT_HOME"
	}
	return f
}

// checkFiles looks at the descriptor limit: each file that a guest knows costs
// one.
func checkFiles() finding {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return finding{"files", statusNote, "limit unknown", err.Error()}
	}
	f := finding{Name: "files", Status: statusOK, Found: fmt.Sprintf("up to %d open", l.Max)}
	if l.Max < 16<<10 {
		f.Status, f.Do = statusNote, "raise the hard limit of open files (ulimit -Hn) for guests that use many"
	}
	return f
}
