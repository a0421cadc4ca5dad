package holt_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holtvm/holt"
)

// These examples need guests. The tests in test/tcg run them, with a VM called web and
// another root, and compare what they print with what stands below "Prints:".

// Run a program in a VM of its own.
func ExampleVM_Run() {
	ctx := context.Background()
	vm, err := holt.NewBuilder().RootPath("/srv/debian").RAMMiB(512).ExecPath("/bin/echo").Args("hello").Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	vm.Stdout = os.Stdout
	err = vm.Run(ctx) // nil, or *holt.ExitError with the program's status
	fmt.Println("it ended with", holt.ExitStatus(err))
	// Prints:
	// hello
	// it ended with 0
}

// Make a VM that stays, run a program in it, copy a file out, and stop it.
func ExampleCreate() {
	ctx := context.Background()
	config, err := holt.NewBuilder().RootPath("/srv/debian").RootOverlay(true).RAMMiB(256).ExecPath("sleep").Args("600").Config()
	if err != nil {
		fmt.Println(err)
		return
	}
	vm, err := holt.Create(ctx, config, holt.WithName("box"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer vm.Remove(ctx, true)
	err = vm.Start(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := vm.Command(ctx, "sh", "-c", "uname -s | tee /tmp/report").Output()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s", out)
	err = vm.CopyFrom(ctx, "/tmp/report", filepath.Join(os.TempDir(), "report"))
	if err != nil {
		fmt.Println(err)
		return
	}
	err = vm.Stop(ctx) // others can do it, too: holt.Open(ctx, "box")
	fmt.Println("stopped:", err)
	// Prints:
	// Linux
	// stopped: <nil>
}

// Run a program beside a VM's main program, as another user, for at most a minute.
func ExampleVM_Exec() {
	ctx := context.Background()
	vm, err := holt.Open(ctx, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	cmd := vm.Exec(ctx, holt.Command{
		Path: "sh", Args: []string{"-c", "id -un; pwd; tr a-z A-Z"},
		User: "nobody", Dir: "/tmp", Timeout: time.Minute,
		Stdin: strings.NewReader("input\n"), Stdout: os.Stdout, Stderr: os.Stderr,
	})
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		return
	}
	// Prints:
	// nobody
	// /tmp
	// INPUT
}

// Read what a program prints while it runs.
func ExampleCmd_StdoutPipe() {
	ctx := context.Background()
	vm, err := holt.Open(ctx, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	cmd := vm.Command(ctx, "seq", "3")
	out, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := io.Copy(os.Stdout, out); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("it ended with", holt.ExitStatus(cmd.Wait()))
	// Prints:
	// 1
	// 2
	// 3
	// it ended with 0
}

// Open a login shell with a terminal. A real one is put into raw mode first, and its
// new sizes go to Resize.
func ExampleVM_Shell() {
	ctx := context.Background()
	vm, err := holt.Open(ctx, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	var screen strings.Builder
	shell := vm.Shell(ctx, holt.Command{Stdin: strings.NewReader("exit 3\n"), Stdout: &screen, Terminal: &holt.WindowSize{Rows: 24, Cols: 80}})
	if err := shell.Start(); err != nil {
		fmt.Println(err)
		return
	}
	err = shell.Wait()
	fmt.Println(err)
	// Prints:
	// exit status 3
}

// Use a guest's files through io/fs, and write some.
func ExampleVM_FS() {
	vm, err := holt.Open(context.Background(), "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	files := vm.FS()
	if err := files.MkdirAll("/tmp/site/css", 0o755); err != nil {
		fmt.Println(err)
		return
	}
	err = files.WriteFile("/tmp/site/index.html", []byte("hello\n"), 0o644)
	if err != nil {
		fmt.Println(err)
		return
	}
	page, err := fs.ReadFile(files, "tmp/site/index.html")
	fmt.Printf("%s%v\n", page, err)
	err = fs.WalkDir(files, "tmp/site", func(name string, _ fs.DirEntry, err error) error {
		fmt.Println(name)
		return err
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = files.Open("tmp/none")
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Prints:
	// hello
	// <nil>
	// tmp/site
	// tmp/site/css
	// tmp/site/index.html
	// true
}

// See what happens to files.
func ExampleVM_Watch() {
	ctx := context.Background()
	vm, err := holt.Open(ctx, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	for event, err := range vm.Watch(ctx, "/root", true) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(event.Op, event.Path)
		if event.Op == holt.FileCreate {
			break
		}
		// The first event says that changes are seen from now on.
		if err := vm.FS().Mkdir("/root/new", 0o700); err != nil {
			fmt.Println(err)
			return
		}
	}
	// Prints:
	// ready /root
	// create /root/new
}

// Tell what a VM takes.
func ExampleVM_Stats() {
	ctx := context.Background()
	vm, err := holt.Open(ctx, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	stats, err := vm.Stats(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(stats.State, stats.VCPUs, "vCPU")
	fmt.Println("memory of the host:", stats.HostMemory > 0, "the guest's own figures:", stats.Guest != nil)
	// Prints:
	// running 1 vCPU
	// memory of the host: true the guest's own figures: true
}

// Run source code in a VM of its own.
func ExampleRunCode() {
	out, err := holt.RunCode(context.Background(), "sh", "echo $((6 * 7))")
	fmt.Printf("%s%v\n", out, err)
	// Prints:
	// 42
	// <nil>
}

// Tell errors apart.
func ExampleExitError() {
	ctx := context.Background()
	vm, err := holt.Open(ctx, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, script := range []string{"exit 3", "kill -9 $$", "exec sleep 60"} {
		_, err := vm.Exec(ctx, holt.Command{Path: "sh", Args: []string{"-c", script}, Timeout: 2 * time.Second}).Output()
		if exit, ok := errors.AsType[*holt.ExitError](err); ok {
			fmt.Println("status", exit.Code, "signal", int(exit.Signal))
		} else if errors.Is(err, holt.ErrTimeout) {
			fmt.Println("it ran for too long")
		}
	}
	err = vm.Command(ctx, "nosuch").Run()
	fmt.Println(errors.Is(err, holt.ErrProgramNotFound), holt.ExitStatus(err))
	_, err = holt.Open(ctx, "nosuch")
	fmt.Println(errors.Is(err, holt.ErrNotFound))
	err = vm.Resume(ctx)
	if state, ok := errors.AsType[*holt.StateError](err); ok {
		fmt.Println("cannot", state.Operation, "while it is", state.State)
	}
	// Prints:
	// status 3 signal 0
	// status 0 signal 9
	// it ran for too long
	// true 127
	// true
	// cannot resume while it is running
}
