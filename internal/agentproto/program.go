package agentproto

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// Bounds of a Program.
const (
	// MaxPath is the longest path, in bytes (PATH_MAX less its NUL).
	MaxPath = 4095
	// MaxStrings is the greatest number of arguments, and of environment
	// variables.
	MaxStrings = 32 << 10
	// NumRlimits is the number of Linux's resources: RLIMIT_* are 0 to 15.
	NumRlimits = 16
	// MaxTimeoutMS bounds Program.TimeoutMS: a year, in milliseconds.
	MaxTimeoutMS = 365 * 24 * 3600 * 1000
)

// Program is a program to start, in the guest's root.
type Program struct {
	// Path is the executable: absolute, relative to Cwd if it has a slash, or
	// a bare name that is looked up in the PATH of Env. It may be empty with Login.
	Path string `json:"path,omitempty"`
	// Login makes it a login shell: its argv[0] begins with a hyphen, an empty Cwd is
	// the user's home if that exists, and an empty Path is the shell of the user's
	// entry in /etc/passwd, or else that of /bin/sh, /bin/bash and /bin/ash that
	// exists.
	Login bool `json:"login,omitempty"`
	// Args are the arguments after argv[0], which is Path.
	Args []string `json:"args,omitempty"`
	// Env holds KEY=VALUE; the last of a key wins. The agent adds PATH, HOME,
	// HOSTNAME and, with a terminal, TERM where they are missing; USER too if a User
	// with a name is given, or Login, and SHELL with Login.
	Env []string `json:"env,omitempty"`
	// Cwd is the working directory, absolute; empty means "/". It must exist.
	Cwd string `json:"cwd,omitempty"`
	// User is "name", "uid", "name:group" or "uid:gid"; empty is root. Names
	// are looked up in the guest's /etc/passwd and /etc/group.
	User string `json:"user,omitempty"`
	// TTY gives the program a terminal of the size Window. Its output is all
	// sent as standard output.
	TTY    bool       `json:"tty,omitempty"`
	Window WindowSize `json:"window,omitzero"`
	// Stdin connects standard input; else it is /dev/null.
	Stdin bool `json:"stdin,omitempty"`
	// TimeoutMS is the time after which the agent kills the program and its process
	// group, in milliseconds, at most MaxTimeoutMS; 0 is none.
	TimeoutMS int64 `json:"timeout_ms,omitempty"`
	// Rlimits replace the guest's defaults.
	Rlimits []Rlimit `json:"rlimits,omitempty"`
}

// WindowSize is a terminal's size in characters. Zero means unknown.
type WindowSize struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Rlimit is one resource limit (getrlimit(2)).
type Rlimit struct {
	// Resource is Linux's number of the resource, 0 to NumRlimits-1.
	Resource int `json:"resource"`
	// Soft and Hard are in the resource's own unit, and 1<<64-1 is unlimited.
	Soft uint64 `json:"soft"`
	Hard uint64 `json:"hard"`
}

// Validate returns every reason for which p cannot be started, joined. It
// cannot know what exists in the guest.
func (p Program) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if p.Path == "" && !p.Login || len(p.Path) > MaxPath || !textOK(p.Path) {
		bad("path %.80q: must be 1 to %d bytes of UTF-8 without NUL", p.Path, MaxPath)
	}
	if p.Cwd != "" && (len(p.Cwd) > MaxPath || !textOK(p.Cwd) || !path.IsAbs(p.Cwd)) {
		bad("cwd %.80q: must be an absolute path", p.Cwd)
	}
	if len(p.User) > 256 || !textOK(p.User) {
		bad("user %.80q: must be at most 256 bytes of UTF-8 without NUL", p.User)
	}
	if p.TimeoutMS < 0 || p.TimeoutMS > MaxTimeoutMS {
		bad("timeout_ms %d: must be 0 to %d", p.TimeoutMS, int64(MaxTimeoutMS))
	}
	if len(p.Args) > MaxStrings || len(p.Env) > MaxStrings {
		bad("args and env: %d and %d: at most %d each", len(p.Args), len(p.Env), MaxStrings)
		return errors.Join(errs...)
	}
	for i, a := range p.Args {
		if !textOK(a) {
			bad("args[%d]: must be UTF-8 without NUL", i)
		}
	}
	for i, e := range p.Env {
		if !textOK(e) || strings.IndexByte(e, '=') < 1 {
			bad("env[%d]: must be KEY=VALUE in UTF-8 without NUL", i)
		}
	}
	seen := [NumRlimits]bool{}
	for i, l := range p.Rlimits {
		switch {
		case l.Resource < 0 || l.Resource >= NumRlimits:
			bad("rlimits[%d]: resource %d: must be 0 to %d", i, l.Resource, NumRlimits-1)
		case seen[l.Resource]:
			bad("rlimits[%d]: resource %d: is given twice", i, l.Resource)
		case l.Soft > l.Hard:
			bad("rlimits[%d]: soft limit %d is above the hard limit %d", i, l.Soft, l.Hard)
		default:
			seen[l.Resource] = true
		}
	}
	return errors.Join(errs...)
}

// textOK reports whether JSON and a system call carry s unchanged: JSON takes
// only UTF-8, a system call ends a string at its first NUL.
func textOK(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// DecodeProgram decodes and validates the payload of a TypeSpec frame that
// follows an exec header line. Unknown keys and values that Validate refuses
// are a ViolationError.
func DecodeProgram(b []byte) (Program, error) {
	var p Program
	if err := unmarshal("program", b, &p, true); err != nil {
		return p, err
	}
	if err := p.Validate(); err != nil {
		return p, violation("program: %v", err)
	}
	return p, nil
}
