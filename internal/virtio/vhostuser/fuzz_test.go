package vhostuser

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/rng"
	"github.com/holtvm/holt/internal/virtiotest"
)

// FuzzServe sends a stream of messages. Each is a byte that says which
// descriptors come with it, a byte that says how long it is, and its bytes. So
// that the fuzzer gets past the first checks, a length of 0 stands for one of the
// messages of an honest front end, chosen by the next byte.
func FuzzServe(f *testing.F) {
	f.Add([]byte{})
	honest := []byte{}
	for i := range honestMessages() {
		honest = append(honest, 0, 0, byte(i))
	}
	f.Add(honest)
	f.Add(append(honest, honest...))
	f.Add(append([]byte{1, 20}, encode(reqSetVringKick, flagNeedReply, putU64(0))...))
	f.Add(append([]byte{2, 48}, encode(reqSetMemTable, flagNeedReply, table([4]uint64{0, 4096, 0, 0}))...))
	f.Add(append([]byte{0, 12}, encode(reqSetConfig, 0, nil)...))

	f.Fuzz(func(t *testing.T, data []byte) {
		mem, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		memfd := os.NewFile(uintptr(mem), "fuzz")
		defer memfd.Close()
		if err := memfd.Truncate(1 << 16); err != nil {
			t.Fatal(err)
		}
		event := newEventfd(t)
		defer unix.Close(event)
		near, far := socketpair(t)
		defer near.Close()
		served := make(chan error, 1)
		go func() {
			served <- Serve(context.Background(), far, configDevice{&rng.Device{}}, slog.New(slog.DiscardHandler))
		}()
		go func() {
			buf := make([]byte, 4096)
			for {
				if _, err := near.Read(buf); err != nil {
					return
				}
			}
		}()
		messages := honestMessages()
		for in := bytes.NewBuffer(data); in.Len() >= 3; {
			with, n := in.Next(1)[0], int(in.Next(1)[0])
			var raw []byte
			var fds []int
			if n == 0 {
				m := messages[int(in.Next(1)[0])%len(messages)]
				raw, with = m.raw, m.fds
			} else {
				raw = in.Next(n)
			}
			for range with & 1 {
				fds = append(fds, event)
			}
			for range with >> 1 & 0xf {
				fds = append(fds, mem)
			}
			var oob []byte
			if len(fds) > 0 {
				oob = unix.UnixRights(fds...)
			}
			if _, _, err := near.WriteMsgUnix(raw, oob, nil); err != nil {
				break
			}
		}
		near.CloseWrite()
		select {
		case <-served:
		case <-time.After(virtiotest.WaitTimeout):
			t.Fatal("Serve did not return")
		}
	})
}

// honestMessage is a message of an honest front end; fds is coded as in the
// fuzzer's input.
type honestMessage struct {
	raw []byte
	fds byte
}

func honestMessages() []honestMessage {
	addr := vring(0, 0)
	for _, v := range []uint64{userBase, userBase + 0x2000, userBase + 0x1000, 0} {
		addr = le.AppendUint64(addr, v)
	}
	return []honestMessage{
		{encode(reqGetFeatures, 0, nil), 0},
		{encode(reqSetProtocolFeatures, 0, putU64(protocolReplyAck|protocolConfig)), 0},
		{encode(reqSetFeatures, 0, putU64(virtio.FeatureVersion1|virtio.FeatureIndirectDesc|featureProtocolFeatures)), 0},
		{encode(reqSetMemTable, 0, table([4]uint64{0, 1 << 16, userBase, 0})), 2},
		{encode(reqSetVringNum, 0, vring(0, 64)), 0},
		{encode(reqSetVringBase, 0, vring(0, 0)), 0},
		{encode(reqSetVringAddr, 0, addr), 0},
		{encode(reqSetVringCall, 0, putU64(0)), 1},
		{encode(reqSetVringKick, 0, putU64(0)), 1},
		{encode(reqSetVringEnable, 0, vring(0, 1)), 0},
		{encode(reqGetConfig, 0, append(vring(0, 8), make([]byte, 12)...)), 0},
		{encode(reqSetVringEnable, 0, vring(0, 0)), 0},
		{encode(reqGetVringBase, flagNeedReply, vring(0, 0)), 0},
		{encode(reqSetFeatures, 0, putU64(0)), 0},
		{encode(reqResetDevice, 0, nil), 0},
	}
}
