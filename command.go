package holt

import (
	"cmp"
	"io"
	"strings"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

// Command is a program to run in a VM that runs, see [VM.Exec]. It is a plain value.
type Command struct {
	// Path is the program, and its argv[0]: an absolute guest path, a bare name that is
	// looked up in the program's PATH, or a relative path with a slash, resolved
	// against Dir.
	Path string
	// Args are the arguments, without argv[0].
	Args []string
	// Env holds KEY=VALUE; the last of a key wins. What is missing of PATH, HOME and
	// HOSTNAME is added; also TERM with a Terminal, USER with a User, and SHELL with
	// Login.
	Env []string
	// Dir is the absolute guest path that the program starts in. Empty is / or, with
	// Login, the user's home.
	Dir string
	// User is "name", "uid", "name:group" or "uid:gid" of the guest. Empty is root.
	User string
	// Rlimits replace the guest's defaults, each resource at most once.
	Rlimits []Rlimit
	// Timeout, if not 0, is how long the program may run, at most a year. Then the
	// guest kills it and its process group, and Wait returns ErrTimeout.
	Timeout time.Duration
	// Login makes the program a login shell: its argv[0] begins with a hyphen, and an
	// empty Path is the user's own shell.
	Login bool
	// Terminal gives the program a terminal of this size; all its output is Stdout
	// then. Nil gives it pipes.
	Terminal *WindowSize

	// Stdin is the program's standard input. Nil is /dev/null, unless OpenStdin is set.
	Stdin io.Reader
	// Stdout and Stderr get the output, from one goroutine. Nil throws it away. A
	// writer that blocks makes the program block, and one that fails ends it.
	Stdout, Stderr io.Writer
	// OpenStdin gives the program a standard input that stays open without Stdin, for
	// whoever attaches to the session later.
	OpenStdin bool
	// Detached lets the program run without this process: Start returns when it runs,
	// and Wait returns ErrDetached. The last 64 KiB of its output are kept for
	// [VM.AttachSession]. Stdin, Stdout and Stderr must be nil.
	Detached bool
}

// spec is the program for the agent.
func (c *Cmd) spec() agentproto.Program {
	p := agentproto.Program{
		Path: c.Path, Args: c.Args, Env: c.Env, Cwd: c.Dir, User: c.User, Login: c.Login,
		Stdin:     c.Stdin != nil || c.writes || c.OpenStdin && c.attach == "",
		TimeoutMS: int64((c.Timeout + time.Millisecond - 1) / time.Millisecond),
	}
	for _, l := range c.Rlimits {
		p.Rlimits = append(p.Rlimits, agentproto.Rlimit{Resource: int(l.Resource), Soft: l.Soft, Hard: l.Hard})
	}
	if c.Terminal != nil {
		p.TTY, p.Window = true, agentproto.WindowSize{Rows: c.Terminal.Rows, Cols: c.Terminal.Cols}
	}
	return p
}

// commandLine is a program for people.
func commandLine(p agentproto.Program) string {
	return strings.Join(append([]string{cmp.Or(p.Path, "(login shell)")}, p.Args...), " ")
}
