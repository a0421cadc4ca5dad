package program

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// ShimArg0 is the argv[0] under which this executable must call RunShim and do
// nothing else.
const ShimArg0 = "holt-agent-limits"

// shimOrder is what the agent tells the shim.
type shimOrder struct {
	Path    string              `json:"path"`
	Cwd     string              `json:"cwd"`
	Rlimits []agentproto.Rlimit `json:"rlimits"`
	SetUser bool                `json:"set_user"`
	UID     uint32              `json:"uid"`
	GID     uint32              `json:"gid"`
	Groups  []uint32            `json:"groups,omitempty"`
}

// startLimited starts the program through the shim: this executable again,
// which sets the limits on itself and then becomes the program. Limits cannot
// be set in between by this process, since syscall.ForkExec executes at once,
// and they must never be set on this process: it is pid 1.
func (l launch) startLimited(r *Reaper, limits []agentproto.Rlimit) (int, *child, error) {
	if !slices.ContainsFunc(limits, func(l agentproto.Rlimit) bool { return l.Resource == unix.RLIMIT_NOFILE }) {
		limits = append(slices.Clip(limits), filesLimit())
	}
	order, err := json.Marshal(shimOrder{
		Path: l.path, Cwd: l.cwd, Rlimits: limits,
		SetUser: l.who.set, UID: l.who.uid, GID: l.who.gid, Groups: l.who.groups,
	})
	if err != nil {
		return 0, nil, fmt.Errorf("encode limits: %w", err)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, nil, fmt.Errorf("make pipe: %w", err)
	}
	a := l.attr()
	a.Dir = "/" // the user may be refused a directory that root is not
	a.Files = append(a.Files, uintptr(p[1]))
	pid, c, err := r.start("/proc/self/exe", append([]string{ShimArg0, string(order)}, l.argv...), a, true)
	_ = unix.Close(p[1])
	report := os.NewFile(uintptr(p[0]), "shim report")
	defer report.Close()
	if err != nil {
		// Not wrapped: its number is not about the program.
		return 0, nil, fmt.Errorf("start the agent again to set limits: %s", err.Error())
	}
	var errno [1]byte
	if n, _ := report.Read(errno[:]); n == 0 {
		return pid, c, nil // closed by the execution of the program
	}
	<-c.done
	return 0, nil, syscall.Errno(errno[0])
}

// reportFD is where the shim writes why it could not execute the program.
const reportFD = 3

// RunShim does what the order in argv[1] says and becomes the program whose
// argv is argv[2:]. It returns, after reporting the error, only if it cannot;
// the process must then exit.
func RunShim(argv []string) {
	unix.CloseOnExec(reportFD)
	err := runShim(argv)
	errno := syscall.EINVAL
	errors.As(err, &errno)
	_, _ = unix.Write(reportFD, []byte{byte(errno)})
}

func runShim(argv []string) error {
	if len(argv) < 3 {
		return syscall.EINVAL
	}
	var o shimOrder
	if err := json.Unmarshal([]byte(argv[1]), &o); err != nil {
		return err
	}
	// The user comes last, since only root may raise a limit.
	for _, l := range o.Rlimits {
		if err := setLimit(l); err != nil {
			return err
		}
	}
	if o.SetUser {
		if err := setUser(o); err != nil {
			return err
		}
	}
	if err := unix.Chdir(o.Cwd); err != nil {
		return err
	}
	return syscall.Exec(o.Path, argv[2:], os.Environ())
}

func setLimit(l agentproto.Rlimit) error {
	if l.Resource == unix.RLIMIT_NOFILE {
		// syscall.Exec would otherwise restore the limit of before Go's start.
		return syscall.Setrlimit(l.Resource, &syscall.Rlimit{Cur: l.Soft, Max: l.Hard})
	}
	return unix.Prlimit(0, l.Resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil)
}

func setUser(o shimOrder) error {
	groups := make([]int, len(o.Groups))
	for i, g := range o.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return err
	}
	if err := syscall.Setresgid(int(o.GID), int(o.GID), int(o.GID)); err != nil {
		return err
	}
	return syscall.Setresuid(int(o.UID), int(o.UID), int(o.UID))
}
