package program

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/agentproto"
)

func TestLoginShell(t *testing.T) {
	dir := t.TempDir()
	shell := filepath.Join(dir, "shell")
	if err := os.WriteFile(shell, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ shell, want string }{
		{shell, shell},
		{"", "/bin/sh"},
		{"bash", "/bin/sh"}, // not a path
		{filepath.Join(dir, "gone"), "/bin/sh"},
		{dir, "/bin/sh"},
	} {
		if got, e := loginShell(user{shell: tt.shell}); got != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.shell, got, e, tt.want)
		}
	}
}

func TestLogin(t *testing.T) {
	login := agentproto.Program{Login: true, Stdin: true}
	p, e := Start(reaper, login)
	if e != nil {
		t.Fatal(e)
	}
	defer p.Close()
	if _, err := p.Stdin.WriteString("echo $0 $USER $SHELL; pwd; exit 6\n"); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(p.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	who, err := lookupUser("")
	if err != nil {
		t.Fatal(err)
	}
	shell, _ := loginShell(who)
	want := "-" + filepath.Base(shell) + " " + who.name + " " + shell + "\n" + directory(login, who) + "\n"
	if string(out) != want || p.Exit().Code != 6 {
		t.Errorf("%q, want %q; %+v", out, want, p.Exit())
	}

	// With a path, and through the shim.
	spec := sh("echo $0")
	spec.Path, spec.Login, spec.Cwd = "sh", true, "/"
	spec.Rlimits = []agentproto.Rlimit{{Resource: 4}}
	if out, _, _ := run(t, spec); !strings.HasPrefix(out, "-sh\n") {
		t.Errorf("argv[0] is %q", out)
	}
}

func TestDirectory(t *testing.T) {
	home := t.TempDir()
	for _, tt := range []struct {
		login     bool
		cwd, home string
		want      string
	}{
		{false, "", home, "/"},
		{true, "", home, home},
		{true, "/srv", home, "/srv"},
		{true, "", home + "/gone", "/"},
		{true, "", "", "/"},
	} {
		if got := directory(agentproto.Program{Login: tt.login, Cwd: tt.cwd}, user{home: tt.home}); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

func TestUserVariables(t *testing.T) {
	ann := user{set: true, uid: 1000, home: "/home/ann", name: "ann", shell: "/bin/sh"}
	for name, tt := range map[string]struct {
		spec agentproto.Program
		who  user
		want map[string]string
	}{
		"named":        {agentproto.Program{}, ann, map[string]string{"USER": "ann", "SHELL": "", "HOME": "/home/ann"}},
		"login":        {agentproto.Program{Login: true}, ann, map[string]string{"USER": "ann", "SHELL": "/bin/sh"}},
		"given":        {agentproto.Program{Env: []string{"USER=bob"}}, ann, map[string]string{"USER": "bob"}},
		"nobody asked": {agentproto.Program{}, user{name: "root", home: "/root"}, map[string]string{"USER": ""}},
		"number":       {agentproto.Program{}, user{set: true, uid: 4242, home: "/"}, map[string]string{"USER": ""}},
	} {
		env := environment(tt.spec, tt.who)
		for key, want := range tt.want {
			if got := getenv(env, key); got != want {
				t.Errorf("%s: %s is %q, want %q", name, key, got, want)
			}
		}
	}
}
