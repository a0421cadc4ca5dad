package kernelbuild

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tailLines is how much of the log an error shows.
const tailLines = 8

// runner runs the commands of one build.
type runner struct {
	dir      string // where they run
	log      io.Writer
	logPath  string // "" if the log is not a file
	progress func(string)
}

// compile makes a kernel in r.dir, which is empty, and puts the image and its
// configuration into the directory out.
func (r *runner) compile(ctx context.Context, src source, asked, out string, jobs int) error {
	if jobs <= 0 {
		jobs = runtime.NumCPU()
	}
	r.progress("unpacking " + filepath.Base(src.tarball))
	args := append([]string{"--extract", "--file", src.tarball, "--strip-components=1", "--no-same-owner"}, unneeded()...)
	if err := r.run(ctx, "tar", args...); err != nil {
		return err
	}
	r.progress("configuring")
	if src.used {
		if err := r.run(ctx, "make", "ARCH=x86", "mrproper"); err != nil {
			return err
		}
	}
	askedFile := filepath.Join(out, configFile)
	if err := os.WriteFile(askedFile, []byte(asked), 0o644); err != nil {
		return err
	}
	if err := r.run(ctx, "make", "ARCH=x86_64", "KCONFIG_ALLCONFIG="+askedFile, "allnoconfig"); err != nil {
		return err
	}
	final, err := os.ReadFile(filepath.Join(r.dir, ".config"))
	if err != nil {
		return err
	}
	if err := checkConfig(asked, string(final)); err != nil {
		return err
	}
	if err := os.WriteFile(askedFile, final, 0o644); err != nil {
		return err
	}
	if err := r.run(ctx, "make", "ARCH=x86_64", "--jobs="+strconv.Itoa(jobs), "vmlinux"); err != nil {
		return err
	}
	// The names of its functions that messages show are in the image proper.
	return r.run(ctx, "strip", "--strip-all", "-o", filepath.Join(out, imageFile), "vmlinux")
}

// environment is all that a command gets, so that nothing of the caller's shell
// or make is in the result.
func environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + os.Getenv("HOME"),
		"TMPDIR=" + os.TempDir(),
		"LC_ALL=C",
		"TZ=UTC",
		"LOCALVERSION=", // no "+" after the version when the tree is in a Git checkout
		"KBUILD_BUILD_TIMESTAMP=1970-01-01 00:00:00 UTC",
		"KBUILD_BUILD_USER=holt",
		"KBUILD_BUILD_HOST=holt",
		"KBUILD_BUILD_VERSION=1",
	}
}

// run runs a command to its end. When ctx is cancelled, the command and all that
// it started are ended.
func (r *runner) run(ctx context.Context, tool string, args ...string) error {
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir, cmd.Env = r.dir, environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	out := &output{log: r.log, progress: r.progress}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	if ctx.Err() != nil {
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // who ignored the polite end; mostly there is nobody left
		}
		return context.Cause(ctx)
	}
	if err == nil {
		return nil
	}
	where := ""
	if r.logPath != "" {
		where = "\nall of its output is in " + r.logPath
	}
	return fmt.Errorf("%s: %w:\n  %s%s", tool, err, strings.Join(out.tail, "\n  "), where)
}

// output is what a command prints: it goes to the log, its last lines are kept,
// and the names of files being compiled are shown as progress.
type output struct {
	log      io.Writer
	progress func(string)
	partial  []byte
	tail     []string
	files    int
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	if n, err := o.log.Write(p); err != nil {
		return n, err
	}
	o.partial = append(o.partial, p...)
	for {
		line, rest, ok := bytes.Cut(o.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		o.line(string(line))
		o.partial = rest
	}
}

func (o *output) line(line string) {
	if o.tail = append(o.tail, line); len(o.tail) > tailLines {
		o.tail = o.tail[1:]
	}
	// "  CC      kernel/fork.o"
	if verb, file, ok := strings.Cut(strings.TrimSpace(line), " "); ok && (verb == "CC" || verb == "AS" || verb == "LD") {
		o.files++
		o.progress(fmt.Sprintf("compiling: %d files, %s", o.files, strings.TrimSpace(file)))
	}
}
