package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/vmtest"
)

const (
	// sshHost is what SSH's client calls the guest.
	sshHost = "guest"
	// sshDir is where the guest has what its SSH server needs.
	sshDir = "/bench"
	// sshPatience is how long the server may take to answer, or a command of ours.
	sshPatience = 30 * time.Second
)

// The guest's own files. The server asks nobody for names and logs nothing but
// errors; the rest is as its package has it.
const (
	sshServer = `HostKey ` + sshDir + `/host
AuthorizedKeysFile ` + sshDir + `/user.pub
StrictModes no
PidFile none
LogLevel ERROR
Subsystem sftp /usr/lib/openssh/sftp-server
`
	sshUsers = `root:x:0:0:root:/root:/bin/sh
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
`
	sshInit = `cp ` + sshDir + `/passwd /etc/passwd && mkdir -p /run/sshd && ldconfig && exec /usr/sbin/sshd -D -e -f ` + sshDir + `/sshd_config`
)

// sshGuest is a guest with an SSH server beside Holt's agent.
type sshGuest struct {
	vm     *holt.VM
	name   string
	holt   string // the binary
	config string // of SSH's client
	master string // socket of the client that keeps a connection
	keeper *exec.Cmd
}

// startSSHGuest starts a guest and returns when both ways lead into it.
func (b *bench) startSSHGuest(ctx context.Context) (_ *sshGuest, err error) {
	root, err := vmtest.MakeSSHRoot(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.temp, "ssh-")
	if err != nil {
		return nil, err
	}
	g := &sshGuest{
		name: fmt.Sprintf("bench-ssh-%d", os.Getpid()), holt: b.holt,
		config: filepath.Join(dir, "config"), master: filepath.Join(dir, "master"),
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := g.configure(ctx, dir, port); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	if _, err := timed(exec.CommandContext(ctx, g.holt, "run", "-d", "--name", g.name, "--rootfs", root, "--overlay", "-m", "1G",
		"--network", "local", "-p", fmt.Sprintf("127.0.0.1:%d:22", port), "-v", dir+":"+sshDir+":ro", "--", "/bin/sh", "-c", sshInit)); err != nil {
		return nil, err
	}
	if g.vm, err = holt.Open(ctx, g.name); err != nil {
		return nil, err
	}
	if err := g.await(ctx, func() *exec.Cmd { return g.ssh(ctx, "/bin/true") }); err != nil {
		return nil, err
	}
	g.keeper = exec.CommandContext(ctx, "ssh", "-F", g.config, "-S", g.master, "-M", "-N", sshHost)
	g.keeper.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.keeper.Start(); err != nil {
		return nil, err
	}
	return g, g.await(ctx, func() *exec.Cmd { return g.kept(ctx, "-O", "check") })
}

// configure writes keys, and what server and client are to know.
func (g *sshGuest) configure(ctx context.Context, dir string, port int) error {
	for _, key := range []string{"host", "user"} {
		if _, err := timed(exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))); err != nil {
			return err
		}
	}
	host, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	if err != nil {
		return err
	}
	client := fmt.Sprintf("HostName 127.0.0.1\nPort %d\nUser root\nIdentityFile %s\nIdentitiesOnly yes\n"+
		"HostKeyAlias %s\nUserKnownHostsFile %s\nBatchMode yes\nConnectTimeout %d\n",
		port, filepath.Join(dir, "user"), sshHost, filepath.Join(dir, "known"), int(sshPatience.Seconds()))
	for name, text := range map[string]string{
		"known": sshHost + " " + string(host), "config": client, "sshd_config": sshServer, "passwd": sshUsers,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// freePort is a port that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// await runs a command until it succeeds.
func (g *sshGuest) await(ctx context.Context, cmd func() *exec.Cmd) error {
	for end := time.Now().Add(sshPatience); ; {
		_, err := timed(cmd())
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			said, _ := exec.CommandContext(ctx, g.holt, "logs", g.name).CombinedOutput()
			return fmt.Errorf("%w\nthe server said: %s", err, said)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ssh is a command in the guest over a connection of its own.
func (g *sshGuest) ssh(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ssh", append([]string{"-F", g.config, sshHost}, args...)...)
}

// kept is a command in the guest over the connection that is kept.
func (g *sshGuest) kept(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ssh", append([]string{"-F", g.config, "-S", g.master, sshHost}, args...)...)
}

// exec is a command in the guest through Holt.
func (g *sshGuest) exec(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, g.holt, append([]string{"exec", g.name}, args...)...)
}

// close removes the guest, also when the context has ended.
func (g *sshGuest) close() {
	if g.keeper != nil && g.keeper.Process != nil {
		_ = g.keeper.Process.Kill() // it may have ended
		_ = g.keeper.Wait()
	}
	ctx, cancel := context.WithTimeout(context.Background(), sshPatience)
	defer cancel()
	if _, err := timed(exec.CommandContext(ctx, g.holt, "rm", "-f", g.name)); err != nil {
		progress("%v", err)
	}
}

// timed runs a command and returns how long it took.
func timed(cmd *exec.Cmd) (time.Duration, error) {
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begin)
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return took, nil
}
