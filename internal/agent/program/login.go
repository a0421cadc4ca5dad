package program

import (
	"os"
	"path"
	"strings"

	"github.com/holtvm/holt/internal/agentproto"
)

// usualShells are tried in this order for a user who has none.
var usualShells = []string{"/bin/sh", "/bin/bash", "/bin/ash"}

// executable returns the path to execute for spec, and argv[0].
func executable(spec agentproto.Program, who user, cwd, search string) (file, arg0 string, e *agentproto.Error) {
	switch {
	case spec.Path != "":
		file, e = lookPath(spec.Path, cwd, search)
	default:
		file, e = loginShell(who)
	}
	if spec.Login {
		return file, "-" + path.Base(file), e
	}
	return file, spec.Path, e
}

// loginShell returns the user's shell. One that cannot be executed is no reason to
// leave a user without any.
func loginShell(who user) (string, *agentproto.Error) {
	candidates := usualShells
	if path.IsAbs(who.shell) {
		candidates = append([]string{who.shell}, usualShells...)
	}
	for _, shell := range candidates {
		if checkExecutable(shell) == nil {
			return shell, nil
		}
	}
	return "", notFound("the guest has no shell: there is none of %s", strings.Join(candidates, ", "))
}

// directory returns the working directory for spec.
func directory(spec agentproto.Program, who user) string {
	if spec.Cwd != "" {
		return spec.Cwd
	}
	if spec.Login && path.IsAbs(who.home) {
		if fi, err := os.Stat(who.home); err == nil && fi.IsDir() {
			return who.home
		}
	}
	return "/"
}
