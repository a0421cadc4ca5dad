package holt

import (
	"context"
	"net"

	"github.com/holtvm/holt/internal/agentclient"
)

// Ping returns when the guest's agent has answered.
func (vm *VM) Ping(ctx context.Context) error {
	_, err := ask(ctx, vm, func(conn net.Conn) (struct{}, error) { return struct{}{}, agentclient.Ping(ctx, conn) })
	return err
}

// ask does an operation of the agent on a connection of its own, which f closes.
func ask[T any](ctx context.Context, vm *VM, f func(net.Conn) (T, error)) (T, error) {
	conn, err := vm.agent(ctx)
	if err != nil {
		var none T
		return none, orCause(ctx, err)
	}
	answer, err := f(conn)
	if err != nil {
		err = vm.lost(ctx, err)
	}
	return answer, err
}

// orCause is why ctx ended, or err if it has not.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
