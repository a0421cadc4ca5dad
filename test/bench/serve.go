package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"

	"github.com/holtvm/holt/internal/diskimage"
	"github.com/holtvm/holt/internal/fsserver"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/blk"
	"github.com/holtvm/holt/internal/virtio/fs"
	"github.com/holtvm/holt/internal/virtio/vhostuser"
)

const (
	// serveCommand makes this program serve a device of ours, and nothing else: a
	// device is in a process of its own, as its peer is. Its arguments are a kind
	// of device and what that is to have.
	serveCommand = "serve"
	// profileVariable names the directory for CPU profiles.
	profileVariable = "BENCH_PROFILE"

	fsTag    = "bench"
	fsQueues = 1 // request queues, one for each vCPU
)

// deviceKind is a kind of device that this program serves.
type deviceKind string

const (
	serveDirectory deviceKind = "directory" // and its path
	serveDisk      deviceKind = "disk"      // and the image's path
	serveNetwork   deviceKind = "network"   // and the guest's address with its prefix
)

// serving is this program as a device's server.
func (b *bench) serving(kind deviceKind, argument string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, serveCommand, string(kind), argument)
	if b.profile != "" {
		cmd.Env = append(os.Environ(), profileVariable+"="+b.profile)
	}
	return cmd, nil
}

// newDevice makes a device and what has to be closed after it.
func (kind deviceKind) newDevice(argument string, log *slog.Logger) (virtio.Device, io.Closer, error) {
	switch kind {
	case serveDirectory:
		server, err := fsserver.New(argument, fsserver.Options{Logger: log})
		if err != nil {
			return nil, nil, err
		}
		dev, err := fs.New(fsTag, fsQueues, server)
		return dev, server, err
	case serveDisk:
		disk, err := diskimage.Open(argument, false)
		if err != nil {
			return nil, nil, err
		}
		dev, err := blk.New(disk, blk.Options{}, log)
		return dev, disk, err
	case serveNetwork:
		return newNetwork(argument, log)
	}
	return nil, nil, fmt.Errorf("there is no kind of device %q", kind)
}

// serve serves a device to the one QEMU that connects, as a monitor does.
func serve(kind deviceKind, argument string) (err error) {
	f := os.NewFile(inheritedFD, "socket")
	listener, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("serve a %s: %w", kind, err)
	}
	conn, err := listener.Accept()
	listener.Close()
	if err != nil {
		return fmt.Errorf("serve a %s: %w", kind, err)
	}
	if profiles := os.Getenv(profileVariable); profiles != "" {
		profile, err := os.Create(filepath.Join(profiles, fmt.Sprintf("%s-%d.pprof", kind, os.Getpid())))
		if err != nil {
			return err
		}
		defer profile.Close()
		if err := pprof.StartCPUProfile(profile); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	dev, backing, err := kind.newDevice(argument, log)
	if err != nil {
		return err
	}
	return errors.Join(vhostuser.Serve(context.Background(), conn.(*net.UnixConn), dev, log), backing.Close())
}
