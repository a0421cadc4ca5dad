package program

import (
	"os"
	"strings"

	"github.com/holtvm/holt/internal/agentproto"
)

// defaultPath is the PATH of a program that is given none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment returns the program's environment: that of spec, in which the
// last of a key wins, and what is missing of PATH, HOME, HOSTNAME, TERM, USER and SHELL.
func environment(spec agentproto.Program, who user) []string {
	env := make([]string, 0, len(spec.Env)+4)
	at := make(map[string]int, len(spec.Env)+4)
	set := func(key, kv string) {
		if i, ok := at[key]; ok {
			env[i] = kv
			return
		}
		at[key] = len(env)
		env = append(env, kv)
	}
	set("PATH", "PATH="+defaultPath)
	set("HOME", "HOME="+who.home)
	if name, err := os.Hostname(); err == nil {
		set("HOSTNAME", "HOSTNAME="+name)
	}
	if spec.TTY {
		set("TERM", "TERM=xterm")
	}
	if who.name != "" && (who.set || spec.Login) {
		set("USER", "USER="+who.name)
	}
	if spec.Login {
		if shell, e := loginShell(who); e == nil {
			set("SHELL", "SHELL="+shell)
		}
	}
	for _, kv := range spec.Env {
		key, _, _ := strings.Cut(kv, "=")
		set(key, kv)
	}
	return env
}

func getenv(env []string, key string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, key+"="); ok {
			return v
		}
	}
	return ""
}
