package holt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/eventlog"
	"github.com/holtvm/holt/internal/filetree"
	"github.com/holtvm/holt/internal/filetree/tarstream"
)

// CopyOption changes how files are copied.
type CopyOption func(*copying)

// CopyOwners gives the copies the numeric user and group of what is copied, and keeps
// set-user-ID and set-group-ID bits. Without it copies in a guest belong to root, those
// on the host to whoever copies, and the bits are dropped. On the host it takes root,
// who trusts the guest then.
func CopyOwners() CopyOption { return func(c *copying) { c.owners = true } }

// CopyFollow copies what the source leads to if it is a symbolic link; as a slash at
// its end does. Links below the source are always copied as links.
func CopyFollow() CopyOption { return func(c *copying) { c.follow = true } }

// CopyProgress has report called often while a copy goes on, by one goroutine at a
// time. The copy waits for it.
func CopyProgress(report func(CopyStatus)) CopyOption { return func(c *copying) { c.report = report } }

// CopyTo copies a file or directory of the host to the guest, with permissions, times,
// symbolic and hard links. As with cp -r, it is copied into guestPath if that is a
// directory, under its own name; a source that ends in "/." stands for what is in it.
// Otherwise it gets the name guestPath: directories become one with what there is below
// it, and other files take the place of what has their name. The directory above
// guestPath must exist, and guestPath itself if it ends with a slash, unless a directory
// is copied. What came so far stays when a copy fails, complete file by file.
func (vm *VM) CopyTo(ctx context.Context, hostPath, guestPath string, opts ...CopyOption) error {
	c := newCopying(opts)
	return vm.copied(ctx, "to", hostPath, guestPath, func() error {
		follow := c.follow || followed(hostPath)
		info, err := statHost(hostPath, follow)
		if err != nil {
			return err
		}
		to := inGuest(guestPath)
		there, err := existing(vm.FS().WithContext(ctx).stat("stat", guestPath, to, true))
		if err != nil {
			return err
		}
		name, err := place(hostPath, info, guestPath, there)
		if err != nil {
			return err
		}
		tree, err := filetree.Open(hostPath, filetree.ReadOptions{Follow: follow})
		if err != nil {
			return err
		}
		defer tree.Close()
		return vm.push(ctx, path.Join(to, name), c, tree, nil)
	})
}

// CopyFrom copies a file or directory of the guest to the host, by the rules of
// [VM.CopyTo]. Whatever the guest answers, nothing but hostPath and what is below it
// changes, no symbolic link below it is followed, and no device is made.
func (vm *VM) CopyFrom(ctx context.Context, guestPath, hostPath string, opts ...CopyOption) error {
	c := newCopying(opts)
	return vm.copied(ctx, "from", guestPath, hostPath, func() error {
		q, info, err := vm.source(ctx, guestPath, c)
		if err != nil {
			return err
		}
		there, err := existing(os.Stat(hostPath))
		if err != nil {
			return err
		}
		name, err := place(guestPath, info, hostPath, there)
		if err != nil {
			return err
		}
		tree, err := filetree.Create(hostPath, filetree.WriteOptions{Chown: c.owners})
		if err != nil {
			return err
		}
		defer tree.Close()
		return vm.pull(ctx, q, c, below(tree, name))
	})
}

// CopyTarTo unpacks a tar archive, which is not compressed, in a directory of the guest,
// which is made if it is missing. It reads r to its end. When the copy fails, it returns
// although a Read of r may not have.
func (vm *VM) CopyTarTo(ctx context.Context, r io.Reader, guestPath string, opts ...CopyOption) error {
	c := newCopying(opts)
	return vm.copied(ctx, "to", "-", guestPath, func() error {
		in, out := io.Pipe()
		go func() {
			_, err := io.Copy(out, r)
			_ = out.CloseWithError(err)
		}()
		defer in.Close()
		tree := drained{tarstream.NewReader(in), in}
		return vm.push(ctx, inGuest(guestPath), c, tree, func() { _ = in.CloseWithError(net.ErrClosed) })
	})
}

// CopyTarFrom writes a file or directory of the guest to w as a tar archive in the PAX
// format. In it, the source has its own name; of one that ends in "/." there is what is
// in it.
func (vm *VM) CopyTarFrom(ctx context.Context, guestPath string, w io.Writer, opts ...CopyOption) error {
	c := newCopying(opts)
	return vm.copied(ctx, "from", guestPath, "-", func() error {
		q, info, err := vm.source(ctx, guestPath, c)
		if err != nil {
			return err
		}
		name, err := place(guestPath, info, "", fileInfo{agentproto.FileInfo{Mode: unix.S_IFDIR}})
		if err != nil {
			return err
		}
		return vm.pull(ctx, q, c, below(tarstream.NewWriter(w), name))
	})
}

// source is the request for a tree of the guest, and what is known of its top.
func (vm *VM) source(ctx context.Context, guestPath string, c *copying) (agentproto.FileRequest, fs.FileInfo, error) {
	q := agentproto.FileRequest{Path: agentproto.Name(inGuest(guestPath)), Follow: c.follow || followed(guestPath)}
	info, err := vm.FS().WithContext(ctx).stat("stat", guestPath, string(q.Path), q.Follow)
	return q, info, err
}

// push sends a tree to the guest. It calls abort, unless that is nil, when the tree
// need not be read any further.
func (vm *VM) push(ctx context.Context, to string, c *copying, tree filetree.Source, abort func()) error {
	conn, err := vm.agent(ctx)
	if err != nil {
		return err
	}
	if abort != nil {
		conn = &hookedConn{conn, abort}
	}
	q := agentproto.FileRequest{Path: agentproto.Name(to), Owners: c.owners}
	return vm.transferred(ctx, agentclient.Push(ctx, conn, q, countedSource{tree, c}))
}

// pull receives a tree of the guest.
func (vm *VM) pull(ctx context.Context, q agentproto.FileRequest, c *copying, to filetree.Sink) error {
	conn, err := vm.agent(ctx)
	if err != nil {
		return err
	}
	return vm.transferred(ctx, agentclient.Pull(ctx, conn, q, countedSink{to, c}))
}

// transferred is the error of a transfer to or from the agent: what the guest says, which
// names the file, or what went wrong on the host.
func (vm *VM) transferred(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if said, ok := errors.AsType[*agentproto.Error](err); ok {
		return &refusal{said, "in the guest: " + said.Message}
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // without "in guest"
	}
	return vm.lost(ctx, err)
}

// copied makes a copy to or from the guest, and notes it.
func (vm *VM) copied(ctx context.Context, direction, from, to string, copyTree func() error) error {
	if err := copyTree(); err != nil {
		return fmt.Errorf("copy %s VM %s: %w", direction, vm.Name(), err)
	}
	vm.mu.Lock()
	defer vm.mu.Unlock()
	note(eventlog.Copy, vm.dir.Record, "direction", direction, "source", from, "target", to)
	return nil
}

// hookedConn is a connection that says when it is closed.
type hookedConn struct {
	net.Conn

	closed func()
}

// Close implements net.Conn.
func (c *hookedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// drained reads what comes behind an archive, so that who writes it is not cut off.
type drained struct {
	filetree.Source

	in io.Reader
}

// Next implements filetree.Source.
func (d drained) Next() (agentproto.Entry, io.Reader, error) {
	e, data, err := d.Source.Next()
	if errors.Is(err, io.EOF) {
		if _, rerr := io.Copy(io.Discard, d.in); rerr != nil {
			return e, nil, rerr
		}
	}
	return e, data, err
}

func statHost(name string, follow bool) (fs.FileInfo, error) {
	if follow {
		return os.Stat(name)
	}
	return os.Lstat(name)
}
