// Package vhostuser carries a virtio device to QEMU: it is the back end of the
// vhost-user protocol, as QEMU 7.2 speaks it.
//
// QEMU (the front end) owns the virtual machine. It shares guest memory by
// passing its descriptors, says where the guest's driver put each virtqueue, and
// gives an eventfd per direction: the kick eventfd says that the driver made
// something available, the call eventfd asks for an interrupt. From then on
// requests never touch QEMU: the device works in guest memory directly.
//
// What travels on the socket is QEMU's word; what lies in memory is the
// guest's. A message that makes no sense ends the connection with an error. Ring
// addresses and sizes that make no sense come from the guest and stop that ring
// alone.
package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"time"

	"github.com/holtvm/holt/internal/guestlog"
	"github.com/holtvm/holt/internal/virtio"
)

// server is the state of one connection. All of it belongs to one goroutine.
type server struct {
	conn *net.UnixConn
	dev  virtio.Device

	negotiated     bool   // SET_FEATURES came
	features       uint64 // virtio features that the driver accepted
	protocol       uint64 // protocol features that the front end accepted
	deviceFeatures uint64 // what the device was told last

	mem   *memTable // nil before SET_MEM_TABLE
	rings []*ring
}

// Serve is the back end for dev on conn, a connected stream socket, until the
// peer closes it (nil), breaks the protocol (an error that says how), or ctx is
// done (its cause). By the time it returns every queue is stopped, the device
// reset, guest memory unmapped and conn closed.
func Serve(ctx context.Context, conn *net.UnixConn, dev virtio.Device, log *slog.Logger) error {
	limited := guestlog.New(log.With("device", dev.Type().String()))
	s := &server{conn: conn, dev: dev}
	for i := range dev.QueueSizes() {
		s.rings = append(s.rings, &ring{index: i, log: limited})
	}
	stopWatch := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stopWatch()

	err := s.serve()
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, errClosed):
		err = nil
	case err != nil:
		err = fmt.Errorf("vhost-user %s: %w", dev.Type(), err)
	}
	return errors.Join(err, s.close(), conn.Close())
}

// serve answers messages until there is an error.
func (s *server) serve() error {
	for {
		m, err := receive(s.conn)
		if err != nil {
			return err
		}
		answer, err := s.handle(&m)
		m.fds.close()
		if answer == nil && m.needReply && s.protocol&protocolReplyAck != 0 {
			answer = putU64(0)
			if err != nil {
				answer = putU64(1)
			}
		}
		if answer != nil {
			if _, werr := s.conn.Write(reply(m.request, answer)); werr != nil && err == nil {
				err = werr
				if gone(werr) {
					err = errClosed
				}
			}
		}
		if err != nil {
			return fmt.Errorf("%v: %w", m.request, err)
		}
	}
}

// handle does what m asks for and returns the answer's payload if m has an
// answer of its own.
func (s *server) handle(m *message) (answer []byte, err error) {
	switch m.request {
	case reqSetOwner:
		return nil, nil
	case reqGetFeatures:
		return putU64(s.dev.Features() | transportFeatures), nil
	case reqSetFeatures:
		return nil, s.setFeatures(m.u64(0))
	case reqGetProtocolFeatures:
		return putU64(protocolFeatures(s.dev)), nil
	case reqSetProtocolFeatures:
		s.protocol = m.u64(0) & protocolFeatures(s.dev)
		return nil, nil
	case reqGetQueueNum:
		return putU64(uint64(len(s.rings))), nil
	case reqGetConfig, reqSetConfig:
		return s.config(m)
	case reqSetMemTable:
		mem, err := newMemTable(m)
		if err != nil {
			return nil, err
		}
		return nil, s.setMemory(mem)
	case reqResetOwner, reqResetDevice:
		s.resetDevice()
		return nil, nil
	case reqSetVringKick, reqSetVringCall, reqSetVringErr:
		return nil, s.setDescriptor(m)
	}
	return s.vring(m)
}

// config reads or writes the device's configuration space.
func (s *server) config(m *message) ([]byte, error) {
	off, size := m.u32(0), m.u32(1)
	data := m.payload[configHeader:]
	if uint64(size) != uint64(len(data)) {
		return nil, fmt.Errorf("configuration of %d bytes in %d", size, len(data))
	}
	if m.request == reqGetConfig {
		s.dev.ReadConfig(off, data)
		return m.payload, nil
	}
	// A paused machine writes nothing: this is a driver before its start.
	if !s.running() {
		s.forget()
	}
	s.dev.WriteConfig(off, data)
	return nil, nil
}

// ringAt returns the ring that a message names.
func (s *server) ringAt(index uint64) (*ring, error) {
	if index >= uint64(len(s.rings)) {
		return nil, fmt.Errorf("queue %d of %d", index, len(s.rings))
	}
	return s.rings[index], nil
}

// setDescriptor handles the messages that give a ring an eventfd.
func (s *server) setDescriptor(m *message) error {
	r, err := s.ringAt(m.u64(0) & vringIndexMask)
	if err != nil {
		return err
	}
	none := m.u64(0)&vringNoFD != 0
	if none != (len(m.fds) == 0) {
		return fmt.Errorf("payload %#x with %d descriptors", m.u64(0), len(m.fds))
	}
	n := &r.call
	switch m.request {
	case reqSetVringKick:
		if none {
			return errors.New("polling without a kick descriptor is not supported")
		}
		r.stop(s.dev)
		if err := r.setKick(m.fds.take(0)); err != nil {
			return err
		}
		s.startReady()
		return nil
	case reqSetVringErr:
		n = &r.err
	}
	if none {
		n.clear()
		return nil
	}
	return n.set(m.fds.take(0))
}

// vring handles the messages that set up, start and stop a ring.
func (s *server) vring(m *message) ([]byte, error) {
	r, err := s.ringAt(uint64(m.u32(0)))
	if err != nil {
		return nil, err
	}
	num := m.u32(1)
	switch m.request {
	case reqSetVringNum:
		r.next.size = num
	case reqSetVringAddr: // index, flags, descriptors, used, available, log
		r.next.desc, r.next.used, r.next.avail = m.u64(1), m.u64(2), m.u64(3)
	case reqSetVringBase:
		if num > math.MaxUint16 {
			return nil, fmt.Errorf("ring position %d", num)
		}
		r.next.base, r.baseSet = uint16(num), true
	case reqSetVringEnable:
		if r.enabled = num == 1; !r.enabled {
			r.stop(s.dev)
		}
		s.startReady()
	case reqGetVringBase:
		// This also stops the ring. QEMU waits for the answer with everything
		// else at a halt.
		r.stop(s.dev)
		r.dropKick()
		r.position, r.baseSet = r.next.base, false
		return append(le.AppendUint32(nil, m.u32(0)), le.AppendUint32(nil, uint32(r.position))...), nil
	}
	return nil, nil
}
