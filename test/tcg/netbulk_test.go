//go:build tcg

package tcg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"net"
	"os"
	"testing"

	"github.com/holtvm/holt/internal/vmtest"
)

// bulk is how much is sent each way, in bytes.
const bulk = 1 << 30

// TestBulk: a guest sends a gigabyte, ends its side, and gets a gigabyte back, with
// the sums of both ends equal.
func TestBulk(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	received, sent := make(chan uint64, 1), make(chan uint64, 1)
	go func() {
		defer close(received)
		defer close(sent)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		sum, n, err := readBulk(c)
		if err != nil || n != bulk {
			t.Errorf("the host got %d bytes, %v", n, err)
			return
		}
		received <- sum
		if sum, err = writeBulk(c); err != nil {
			t.Error(err)
			return
		}
		sent <- sum
	}()
	r := vmtest.Run(t, vmtest.GuestHalf(t, "bulk", "--network", "local", "-m", "256M",
		"-e", fmt.Sprint("HOLT_TEST_PORT=", l.Addr().(*net.TCPAddr).Port))...)
	l.Close() // when the guest never came
	r.Want(t, 0, fmt.Sprintf("sent %x, received %x\n", <-received, <-sent))
}

// sendBulk is the guest's half.
func sendBulk() error {
	conn, err := net.Dial("tcp", "host.holt.internal:"+os.Getenv("HOLT_TEST_PORT"))
	if err != nil {
		return err
	}
	defer conn.Close()
	sent, err := writeBulk(conn)
	if err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	received, n, err := readBulk(conn)
	if err != nil {
		return err
	}
	if n != bulk {
		return fmt.Errorf("received %d bytes", n)
	}
	fmt.Printf("sent %x, received %x\n", sent, received)
	return nil
}

// checksum depends on every byte and its place. The guest is emulated, so it must
// be cheap.
type checksum uint64

func (s *checksum) add(p []byte) {
	for ; len(p) >= 8; p = p[8:] {
		*s = checksum(bits.RotateLeft64(uint64(*s), 5) ^ binary.LittleEndian.Uint64(p)*0x9E3779B97F4A7C15)
	}
	for _, b := range p {
		*s = checksum(bits.RotateLeft64(uint64(*s), 5) ^ uint64(b))
	}
}

const bulkBlock = 1 << 20

func writeBulk(w io.Writer) (uint64, error) {
	block := make([]byte, bulkBlock)
	random := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	for i := 0; i < len(block); i += 8 {
		binary.LittleEndian.PutUint64(block[i:], random.Uint64())
	}
	var sum checksum
	for i := range uint64(bulk / bulkBlock) {
		binary.LittleEndian.PutUint64(block, i) // no two blocks are equal
		sum.add(block)
		if _, err := w.Write(block); err != nil {
			return 0, err
		}
	}
	return uint64(sum), nil
}

func readBulk(r io.Reader) (sum uint64, n int, err error) {
	block := make([]byte, bulkBlock)
	var s checksum
	for {
		k, err := io.ReadFull(r, block) // whole blocks: the sum is over words
		s.add(block[:k])
		n += k
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return uint64(s), n, nil
		case err != nil:
			return 0, n, err
		}
	}
}
