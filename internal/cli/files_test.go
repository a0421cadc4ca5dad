package cli

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/agenttest"
	"github.com/holtvm/holt/internal/state"
)

// guestFiles makes a running VM called web, whose files are those of the directory that
// it returns.
func guestFiles(t *testing.T) (dir string, fake *agenttest.VM) {
	t.Helper()
	t.Setenv("HOLT_HOME", t.TempDir())
	dir = t.TempDir()
	return dir, agenttest.Start(t, "web", agenttest.Files(dir))
}

// holtWith runs holt with an input, and returns its output and exit status.
func holtWith(input string, args ...string) (out string, status int, err error) {
	var stdout bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(input))
	root.SetOut(&stdout)
	root.SetErr(&stdout)
	err = root.Execute()
	if exit, ok := errors.AsType[*exitError](err); ok {
		status = exit.status
	} else if err != nil {
		status = holt.StatusHoltFailed
	}
	return stdout.String(), status, err
}

func mustWrite(t *testing.T, name, text string) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644),
		os.Chtimes(name, time.Time{}, time.Unix(1e9, 0)))
	if err != nil {
		t.Fatal(err)
	}
}

// TestFileCommands: a session with the files of a guest.
func TestFileCommands(t *testing.T) {
	dir, _ := guestFiles(t)
	host := t.TempDir()
	mustWrite(t, host+"/site/index.html", "<p>")
	mustWrite(t, host+"/a:b", "colon")
	t.Chdir(host)
	for _, step := range []struct {
		args   string // fields
		input  string
		status int
		want   string // output, or what is in the error
	}{
		{"mkdir -p web:/srv/www", "", 0, ""},
		{"mkdir web:/srv", "", 1, "mkdir web:/srv: file exists"},
		{"cp site web:/srv/www", "", 0, ""},
		{"cp ./a:b web:srv", "", 0, ""},
		{"cat web:/srv/www/site/index.html web:srv/a:b", "", 0, "<p>colon"},
		{"cat web:/none web:srv/a:b", "", 1, "open web:/none: no such file or directory"},
		{"cat web:/srv", "", 1, "read web:/srv: is a directory"},
		{"write web:/f", "one", 0, ""},
		{"write -a web:/f", "two", 0, ""},
		{"cat web:/f", "", 0, "onetwo"},
		{"write --atomic --mode 4600 web:/f", "three", 0, ""},
		{"cat web:/f", "", 0, "three"},
		{"write web:/none/f", "x", 1, "write web:/none/f: no such file"},
		{"write --atomic web:/none/f", "x", 1, "write web:/none/f: no such file"},
		{"write -a --atomic web:/f", "", 125, "none of the others can be"},
		{"write --mode 8 web:/f", "", 125, "octal number"},
		{"mv web:/f srv", "", 0, ""},
		{"mv web:/srv/f web:/srv/g", "", 0, ""},
		{"mv web:/f /g", "", 1, "rename /f /g: no such file or directory"},
		{"mv web:/f db:/g", "", 125, "holt cp web:/f - | holt cp - db:/g"},
		{"ls web:/", "", 0, "srv\n"},
		{"ls web:srv", "", 0, "a:b\ng\nwww\n"},
		{"ls web:srv/g", "", 0, "srv/g\n"},
		{"ls web:none", "", 1, "readdir web:none: no such file or directory"},
		{"ls web", "", 125, `"web": must be VM:PATH`},
		{"rm-file web:/srv/www", "", 1, "remove web:/srv/www: directory not empty (-r removes"},
		{"rm-file web:/none", "", 1, "no such file"},
		{"rm-file -r web:/none", "", 1, "no such file"},
		{"rm-file -f web:/none", "", 0, ""},
		{"cp web:/srv/g back", "", 0, ""},
		{"cp -q web:/srv/. all", "", 0, ""},
		{"cp none web:/", "", 1, "copy to VM web: lstat none: no such file or directory"},
		{"cp web:/none .", "", 1, "copy from VM web: stat /none: no such file or directory"},
		{"cp site web:/srv/g", "", 1, "copy to /srv/g: not a directory"},
		{"cp a b", "", 125, "neither side names a VM"},
		{"cp web:a web:b", "", 125, "holt cp web:a - | holt cp - web:b"},
		{"cp db:a b", "", 125, "no such VM"},
		{"cp - web:/", "no archive", 125, "read tar archive"},
		{"rm-file -rf web:/srv/www web:/none", "", 0, ""},
		{"ls web:srv", "", 0, "a:b\ng\n"},
	} {
		out, status, err := holtWith(step.input, strings.Fields(step.args)...)
		got := out
		if err != nil {
			got = err.Error()
		}
		if status != step.status || got != step.want && (err == nil || !strings.Contains(got, step.want)) {
			t.Errorf("holt %s: status %d, %q; want %d, %q", step.args, status, got, step.status, step.want)
		}
	}
	if info, err := os.Stat(dir + "/srv/g"); err != nil || info.Mode() != 0o600|fs.ModeSetuid {
		t.Errorf("--mode: %v, %v", info.Mode(), err)
	}
	for name, want := range map[string]string{"back": "three", "all/a:b": "colon", "all/www/site/index.html": "<p>"} {
		if b, err := os.ReadFile(name); string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if left, _ := filepath.Glob(dir + "/.holt*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCopyThroughAPipe(t *testing.T) {
	dir, _ := guestFiles(t)
	mustWrite(t, dir+"/etc/passwd", "root")
	archive, status, err := holtWith("", "cp", "web:/etc", "-")
	if status != 0 {
		t.Fatal(err)
	}
	if _, _, err := holtWith(archive, "cp", "-", "web:/copy"); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(dir + "/copy/etc/passwd"); string(b) != "root" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestListsAndStats(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	dir, _ := guestFiles(t)
	mustWrite(t, dir+"/d/new\nline", "12345")
	mustWrite(t, dir+"/d/caf\xe9", "")
	mustWrite(t, dir+"/d/.hidden", "")
	link, run := dir+"/d/link", dir+"/d/run"
	mustWrite(t, run, "")
	if err := errors.Join(os.Chmod(run, 0o711|fs.ModeSetuid|fs.ModeSticky), os.Symlink("run", link)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		want []string
	}{
		{"ls web:/d", []string{"caf\xe9\nlink\nnew\nline\nrun\n"}},
		{"ls -a web:/d", []string{".hidden\ncaf\xe9\n"}},
		{"ls -l web:/d", []string{"-rws--x--t 1 ", "lrwxrwxrwx 1 ", " link -> run\n", " 5 2001-09-09 01:46 new\nline\n"}},
		{"ls --json web:/d", []string{
			`{"path":{"base64":"L2QvY2Fm6Q=="},"type":"file","mode":"0644","size":0,"modified":"2001-09-09T01:46:40Z",`,
			`{"path":"/d/new\nline",`, `"type":"symlink","mode":"0777","size":3,`, `"target":"run"}`, `"/d/run","type":"file","mode":"5711"`,
		}},
		{"stat web:d/link", []string{"Path: /d/link -> run\n", "Type: symlink\n", "Mode: 0777 lrwxrwxrwx\n"}},
		{"stat -L web:d/link web:d", []string{"Mode: 5711 -rws--x--t\n", "Modified: 2001-09-09 01:46:40 +0000\n", "Type: directory\n"}},
		{"stat --json web:d/run", []string{`{"path":"/d/run","type":"file","mode":"5711","size":0,`, `"links":1,"inode":`}},
	} {
		out, status, err := holtWith("", strings.Fields(c.args)...)
		for _, want := range c.want {
			if status != 0 || !strings.Contains(out, want) {
				t.Errorf("holt %s: %v, no %q in\n%q", c.args, err, want, out)
			}
		}
	}
}

// TestFilesOfAVMThatEnded: what is not about a file is 125.
func TestFilesOfAVMThatEnded(t *testing.T) {
	_, fake := guestFiles(t)
	fake.Die(state.End{})
	for _, args := range []string{
		"cat web:/f", "ls web:/", "stat web:/f", "mkdir web:/d", "mv web:/f /g", "rm-file -rf web:/f", "watch web:/", "write web:/f",
		"cp web:/f .", "cp . web:/f", "cp - web:/f",
	} {
		if _, status, err := holtWith("", strings.Fields(args)...); status != 125 || err == nil || !strings.Contains(err.Error(), "it is stopped") {
			t.Errorf("holt %s: %d, %v", args, status, err)
		}
	}
}

func TestWatchPrintsEvents(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	agenttest.Start(t, "web", func(conn net.Conn) {
		if _, err := agenttest.Request(agentproto.NewReader(conn, agentproto.Host)); err != nil {
			return
		}
		out := agentproto.NewBatch(conn)
		_ = out.Report(agentproto.WatchEvent{Path: "/d", Op: agentproto.WatchReady})
		_ = out.Report(agentproto.WatchEvent{Path: "/d/\xff", Op: agentproto.WatchCreate})
		_ = out.Flush()
		_ = agentproto.NewWriter(conn).Error(&agentproto.Error{Kind: agentproto.KindNotFound, Message: "watch /d: no such file or directory"})
	})
	for args, want := range map[string]string{
		"watch -r web:d":     "holt: watching web:d\ncreate   /d/\xff\n",
		"watch --json web:d": `{"op":"ready","path":"/d"}` + "\n" + `{"op":"create","path":{"base64":"L2Qv/w=="}}` + "\n",
	} {
		out, status, err := holtWith("", strings.Fields(args)...)
		if out != want || status != 1 || err.Error() != "watch web:d: no such file or directory" {
			t.Errorf("holt %s: %q, %d, %v; want %q", args, out, status, err, want)
		}
	}
}

func TestGuestPaths(t *testing.T) {
	for arg, want := range map[string]string{
		"web:": ".", "web:/": ".", "web:etc/": "etc", "web:/../x//y/.": "x/y", "web:a:b": "a:b",
		"./a:b": "", "a/b:c": "", ":x": "", "plain": "", "/": "",
	} {
		g, ok := parseGuestPath(arg)
		if ok != (want != "") || ok && (g.vm != "web" || g.name() != want) {
			t.Errorf("%s: %+v, %v, %q; want %q", arg, g, ok, g.name(), want)
		}
	}
}

func TestCopyBar(t *testing.T) {
	for _, c := range []struct {
		status holt.CopyStatus
		width  int
		want   string
	}{
		{holt.CopyStatus{Path: ".", Bytes: 512 << 10, Total: 1 << 20}, 80, "[====================                    ]  50%  512.0KiB of 1.0MiB  256.0KiB/s"},
		{holt.CopyStatus{Path: ".", Bytes: 9, Total: 3}, 30, " 100%  9B of 3B  4B/s"},
		{holt.CopyStatus{Path: "a/b", Bytes: 4096, Files: 7}, 80, "4.0KiB  2.0KiB/s  7 files  a/b"},
		{holt.CopyStatus{Path: "\x1b[2J", Bytes: 4096, Files: 7}, 80, `4.0KiB  2.0KiB/s  7 files  "\x1b[2J"`},
		{holt.CopyStatus{Path: strings.Repeat("x", 99), Bytes: 4096, Files: 7}, 30, "4.0KiB  2.0KiB/s  7 files  xx…"},
	} {
		if got := barText(c.status, 2*time.Second, c.width); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
