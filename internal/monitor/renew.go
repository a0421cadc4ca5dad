package monitor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// renewal is what makes a clone another guest than the one that was saved.
func (a *assembly) renewal(spec Spec) agentproto.Renewal {
	r := agentproto.Renewal{
		Hostname:  hostnameOf(spec),
		MachineID: hex.EncodeToString(random(16)),
		BootID:    uuid(),
		Seed:      random(32),
		Network:   a.boot.Network,
		OldMAC:    a.saved.MAC,
	}
	if !a.saved.Program {
		r.Program = &spec.Program
	}
	return r
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// uuid is a random one (RFC 9562, 5.4).
func uuid() string {
	b := random(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// hostnameOf is the VM's name as a host name or, without one that can be, its id.
func hostnameOf(spec Spec) string {
	name := strings.NewReplacer("_", "-").Replace(spec.Name)
	if name != "" && len(name) <= agentproto.MaxHostname && agentproto.ValidName(name) {
		return name
	}
	return spec.ID
}

// randomMAC is a hardware address of our own making (IEEE 802, 8.2.2): a clone's, for
// two cards with one address are never to meet.
func randomMAC() net.HardwareAddr {
	b := random(6)
	b[0] = b[0]&^1 | 2
	return b
}

// renew makes the agent of a machine that goes on renew its guest. What it returns is
// a connection with the main program's streams.
func (l *life) renew(ctx context.Context, r agentproto.Renewal) (net.Conn, *agentproto.Reader, error) {
	for {
		conn, in, err := l.tryRenew(ctx, r)
		// The driver resets every connection of the guest that was saved, and may take
		// this one for one of those.
		if err == nil || ctx.Err() != nil || !errors.Is(err, agentclient.ErrLost) && !errors.Is(err, unix.ECONNRESET) {
			return conn, in, err
		}
		l.log.Debug("the renewal of the guest begins again", "error", err)
		time.Sleep(time.Millisecond)
	}
}

func (l *life) tryRenew(ctx context.Context, r agentproto.Renewal) (net.Conn, *agentproto.Reader, error) {
	conn, err := l.dial(ctx, agentproto.ServicePort)
	if err != nil {
		return nil, nil, err
	}
	r.ClockNS = time.Now().UnixNano()
	in, err := agentclient.Renew(ctx, conn, r)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, in, nil
}
