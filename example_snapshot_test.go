package holt_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/holtvm/holt"
)

// These examples need the kvm backend. Nothing runs them: the tests in test/kvm do the
// same and look at what comes of it.

// Save a VM, and run a program in another one that goes on from there.
func ExampleRestore() {
	ctx := context.Background()
	vm, err := holt.Open(ctx, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = vm.Snapshot(ctx, "warm")
	if err != nil {
		fmt.Println(err)
		return
	}
	clone, err := holt.Restore(ctx, "warm", holt.ReplacePorts())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer clone.Kill()
	out, err := clone.Command(ctx, "cat", "/tmp/note").Output()
	fmt.Printf("%s%v\n", out, err)
}

// Make copies of a VM that runs, and let each do a part of the work.
func ExampleVM_Fork() {
	ctx := context.Background()
	vm, err := holt.Open(ctx, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	copies, err := vm.Fork(ctx, 4)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, one := range copies {
		defer one.Kill()
		cmd := one.Exec(ctx, holt.Command{Path: "./job", Args: []string{fmt.Sprint(i)}, Dir: "/srv", Stdout: os.Stdout})
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			return
		}
		defer cmd.Wait()
	}
}

// Keep VMs ready, and use each for one program.
func ExampleNewPool() {
	ctx := context.Background()
	pool, err := holt.NewPool(ctx, holt.PoolConfig{From: holt.PoolSnapshot("warm"), Min: 4, Max: 16, IdleTimeout: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	vm, err := pool.Acquire(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := vm.Command(ctx, "python3", "-c", "print(6 * 7)").Output()
	fmt.Printf("%s%v\n", out, err)
	err = pool.Release(vm) // nothing of it is left, and another takes its place
	fmt.Println(err)
}

// Start programs without a boot, from the second one on.
func ExampleWarm() {
	ctx := context.Background()
	config, err := holt.NewBuilder().RootPath("/srv/debian").RootOverlay(true).RAMMiB(256).ExecPath("echo").Args("hello").Config()
	if err != nil {
		fmt.Println(err)
		return
	}
	vm, err := holt.New(config, holt.Warm())
	if err != nil {
		fmt.Println(err)
		return
	}
	vm.Stdout = os.Stdout
	fmt.Println(vm.Run(ctx))
}
