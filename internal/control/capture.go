package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// Captured is the answer to PathSnapshot: what the monitor wrote, beside the files.
type Captured struct {
	Paused      time.Duration `json:"paused_ns"`              // how long the guest stood still
	Program     bool          `json:"program"`                // its main program was started
	Disks       []string      `json:"disks,omitempty"`        // serials of those whose content was written
	CPUFeatures []string      `json:"cpu_features,omitempty"` // that the guest was shown
}

// Base is the answer to PathBase.
type Base struct {
	// Snapshot is the id of the one that the files of guest memory are of, or nothing.
	Snapshot string `json:"snapshot,omitempty"`
}

// Forked is the answer to PathFork.
type Forked struct {
	PID    int           `json:"pid"`
	Paused time.Duration `json:"paused_ns"` // how long the guest stood still
	Layers int           `json:"layers"`    // of memory
	Disks  []string      `json:"disks,omitempty"`
	// Files are descriptors of the process PID, which are open as long as the
	// connection: what a monitor is handed as a VM's origin, in that order.
	Files []int `json:"files"`
}

// maxForked bounds the answer to PathFork, in bytes.
const maxForked = 1 << 20

// Post carries out the operation of a path, as Do does, and decodes its answer.
func (c *Client) Post(ctx context.Context, path string, into any, params ...string) error {
	b, err := c.ask(ctx, "POST", path, params)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("ask the VM's monitor for %s: %w", path, err)
	}
	return nil
}

// Fork saves the VM into files in memory. They are open until conn, which is the
// caller's to close, is closed.
func (c *Client) Fork(ctx context.Context) (f Forked, conn net.Conn, err error) {
	if conn, err = c.Upgrade(ctx, PathFork); err != nil {
		return f, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	if err = ReadLine(conn, maxForked, &f); err != nil {
		err = fmt.Errorf("ask the VM's monitor for %s: %w", PathFork, gone(err))
	}
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return f, nil, err
	}
	return f, conn, nil
}

// Open opens a descriptor of the process that answered, for reading.
func (f Forked) Open(descriptor int) (*os.File, error) {
	return os.Open("/proc/" + strconv.Itoa(f.PID) + "/fd/" + strconv.Itoa(descriptor))
}
