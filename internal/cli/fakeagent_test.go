package cli

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holtvm/holt/internal/agentproto"
)

// agent runs a program: "describe" says how it was asked for, "fail" ends with status
// 3, "missing" is not there, "cat" gives its input back, and others wait for a signal.
func (vm *fakeVM) agent(conn net.Conn) error {
	in, out := agentproto.NewReader(conn, agentproto.Host), agentproto.NewWriter(conn)
	q, err := in.Request()
	if err != nil || q.Op != agentproto.OpExec {
		return errors.Join(err, fmt.Errorf("operation %s", q.Op))
	}
	f, err := in.Next()
	if err != nil {
		return err
	}
	p, err := agentproto.DecodeProgram(f.Payload)
	if err != nil {
		return err
	}
	if p.Path == "missing" {
		return &agentproto.Error{Kind: agentproto.KindNotFound, Message: "missing: not found in the guest's PATH"}
	}
	_ = out.Started(agentproto.Started{PID: 57, Session: "3"})
	if q.Detached {
		text := strings.Join(append([]string{p.Path}, p.Args...), " ")
		if err := os.WriteFile(filepath.Join(vm.spec.Dir, "detached"), []byte(text), 0o600); err != nil {
			return err
		}
		return out.Frame(agentproto.TypeOK, nil)
	}
	switch p.Path {
	case "describe":
		words := slices.Concat([]string{vm.spec.Name, p.Cwd, p.User}, p.Env, p.Args)
		_ = out.Frame(agentproto.TypeStdout, []byte(strings.Join(words, "|")+"\n"))
		return out.Exit(agentproto.Exit{})
	case "fail":
		return out.Exit(agentproto.Exit{Code: 3})
	case "cat":
		if err := fakeCat(in, out); err != nil {
			return err
		}
		return out.Exit(agentproto.Exit{})
	}
	_ = out.Frame(agentproto.TypeStdout, []byte("waiting\n"))
	for {
		f, err := in.Next()
		if err != nil {
			return err
		}
		if f.Type == agentproto.TypeSignal {
			n, _ := f.Signal()
			return out.Exit(agentproto.Exit{Signal: n})
		}
	}
}

// fakeCat is a program that gives its input back. It returns at the input's end.
func fakeCat(in *agentproto.Reader, out *agentproto.Writer) error {
	_ = out.Credit(1 << 16)
	for {
		f, err := in.Next()
		if err != nil {
			return err
		}
		switch f.Type {
		case agentproto.TypeStdin:
			_ = out.Frame(agentproto.TypeStdout, f.Payload)
		case agentproto.TypeStdinEOF:
			return nil
		}
	}
}
