package holt_test

import (
	"context"
	"fmt"

	"github.com/holtvm/holt"
)

// Start a program that outlives its caller, and come back to it by its session.
func ExampleVM_AttachSession() {
	ctx := context.Background()
	vm, err := holt.Open(ctx, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	build := vm.Exec(ctx, holt.Command{Path: "sh", Args: []string{"-c", "sleep 1; echo built"}, Detached: true})
	if err := build.Start(); err != nil {
		fmt.Println(err)
		return
	}
	out, err := vm.AttachSession(ctx, build.Session()).Output()
	fmt.Printf("%s%v\n", out, err)
	// Prints:
	// built
	// <nil>
}
