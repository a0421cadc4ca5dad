//go:build tcg

package tcg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/vmtest"
)

// TestSpoofedSources: what a guest sends under other addresses than its own does not
// leave it.
func TestSpoofedSources(t *testing.T) {
	w := vmtest.NewWorld(t)
	vmtest.Serve(t, w.Beyond, "servers")
	vmtest.Serve(t, w.Host, "servers")
	r := vmtest.Command{Args: vmtest.GuestHalf(t, "spoof"), Netns: w.Host}.Run(t)
	r.Want(t, 0, `"honest"`+"\n")
}

// spoof is the guest's half: it sends notes, one of them under its own addresses,
// and prints what the other side has noted.
func spoof() error {
	card, err := openCard()
	if err != nil {
		return err
	}
	to := [4]byte{93, 184, 215, 14}
	notes := []struct {
		text   string
		source [4]byte
		mac    net.HardwareAddr
	}{
		{"other address", [4]byte{10, 0, 2, 99}, card.mac},
		{"the gateway's address", [4]byte{10, 0, 2, 1}, card.mac},
		{"the host's address", [4]byte{10, 0, 2, 2}, card.mac},
		{"a loopback address", [4]byte{127, 0, 0, 1}, card.mac},
		{"an address of the world", to, card.mac},
		{"other hardware address", [4]byte{10, 0, 2, 15}, net.HardwareAddr{2, 0, 0, 0, 0, 9}},
		{"the gateway's hardware address", [4]byte{10, 0, 2, 15}, card.gateway},
		{"honest", [4]byte{10, 0, 2, 15}, card.mac},
	}
	for _, n := range notes {
		packet := udpPacket(n.source, to, notePort, []byte(n.text))
		if err := card.send(frame(card.gateway, n.mac, unix.ETH_P_IP, packet)); err != nil {
			return err
		}
	}
	// What was noted is told by the echo server; give the notes time to arrive.
	for range 50 {
		if noted, err := tell("93.184.215.14:7070"); err != nil {
			return err
		} else if strings.Contains(noted, "honest") {
			fmt.Println(noted[strings.Index(noted, "[")+1 : len(noted)-1])
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("the honest note did not arrive")
}

// tell returns what the echo server says.
func tell(address string) (string, error) {
	c, err := net.DialTimeout("tcp", address, probeTime)
	if err != nil {
		return "", err
	}
	defer c.Close()
	b := make([]byte, 4096)
	n, err := c.Read(b)
	return string(b[:n]), err
}

// TestFloods: whatever a guest sends and however fast, its monitor's memory is
// bounded, other guests start as ever, and its own network works afterwards.
func TestFloods(t *testing.T) {
	conn := listenUDP(t)
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(answerFromZone)}
	go server.ActivateAndServe()
	t.Cleanup(func() { server.Shutdown() })
	port := serveHTTP(t)
	p := vmtest.Start(t, vmtest.GuestHalf(t, "flood", "--network", "all", "--dns", conn.LocalAddr().String(), "-m", "256M",
		"-e", fmt.Sprint("HOLT_TEST_PORT=", port))...)
	p.WaitOutput(t, "begin\n")
	monitor := vmtest.Tree(t, p.Cmd.Process.Pid, "monitor")[0]
	before := residentMiB(t, monitor)
	var most int
	done := make(chan vmtest.Result, 1)
	go func() { done <- p.Wait(t) }()
	neighbour := vmtest.Run(t, "run", "--", "echo", "here")
	neighbour.Want(t, 0, "here\n")
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		select {
		case r := <-done:
			tick.Stop()
			r.Want(t, 0, "begin\nSYN flood\nUDP flood\nDNS flood\ngarbage\nthe network works\n")
			t.Logf("monitor: %d MiB before the floods, at most %d MiB; another guest meanwhile: %v", before, most, neighbour.Time)
			if most > before+128 {
				t.Errorf("the monitor grew from %d to %d MiB", before, most)
			}
			return
		case <-tick.C:
			most = max(most, residentMiB(t, monitor))
		}
	}
}

// residentMiB is a process's memory apart from what it shares with others, such as
// the guest's; 0 when it has ended.
func residentMiB(t *testing.T, pid int) int {
	t.Helper()
	memory, _ := vmtest.ProcessMemory(pid, "RssAnon")
	return int(memory >> 20)
}

// flood is the guest's half.
func flood() error {
	card, err := openCard()
	if err != nil {
		return err
	}
	me := [4]byte{10, 0, 2, 15}
	fmt.Println("begin")
	floods := []struct {
		name string
		n    int
		make func(i int) []byte
	}{
		{"SYN flood", 50_000, func(i int) []byte {
			return frame(card.gateway, card.mac, unix.ETH_P_IP, synPacket(me, target(i), uint16(i), uint16(i>>3)|1))
		}},
		{"UDP flood", 50_000, func(i int) []byte {
			return frame(card.gateway, card.mac, unix.ETH_P_IP, udpPacket(me, target(i), uint16(i*7919)|1, []byte("flood")))
		}},
		{"DNS flood", 100_000, func(i int) []byte {
			q, _ := new(dns.Msg).SetQuestion(fmt.Sprintf("n%d.one.example.", i%50), dns.TypeA).Pack()
			return frame(card.gateway, card.mac, unix.ETH_P_IP, udpPacket(me, [4]byte{10, 0, 2, 1}, dnsPort, q))
		}},
		{"garbage", 20_000, func(i int) []byte {
			b := make([]byte, 14+i%1600)
			for j := range b {
				b[j] = byte(i*31 + j*j)
			}
			copy(b, card.gateway)
			copy(b[6:], card.mac)
			binary.BigEndian.PutUint16(b[12:], []uint16{unix.ETH_P_IP, unix.ETH_P_IPV6, unix.ETH_P_ARP, uint16(i)}[i%4])
			if len(b) > 14 {
				b[14] = []byte{0x45, 0x60, byte(i)}[i%3]
			}
			return b
		}},
	}
	for _, f := range floods {
		for i := range f.n {
			if err := card.send(f.make(i)); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
		fmt.Println(f.name)
	}
	for try := 0; ; try++ {
		r, err := http.Get("http://host.holt.internal:" + os.Getenv("HOLT_TEST_PORT"))
		if err == nil {
			r.Body.Close()
			break
		}
		if try == 10 {
			return fmt.Errorf("after the floods: %w", err)
		}
		time.Sleep(500 * time.Millisecond)
	}
	fmt.Println("the network works")
	return nil
}

// target is an address on the host's loopback, so that a flood goes nowhere else.
func target(i int) [4]byte { return [4]byte{10, 0, 2, byte(3 + i%10)} }

// card is the guest's network card, for frames of any kind.
type card struct {
	fd           int
	mac, gateway net.HardwareAddr
	to           unix.SockaddrLinklayer
}

func openCard() (*card, error) {
	iface, err := net.InterfaceByName("eth0")
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return nil, err
	}
	// The kernel learns the gateway's hardware address when it is asked.
	if _, err := net.DialTimeout("tcp", "10.0.2.1:9", time.Second); err == nil {
		return nil, errors.New("the gateway serves port 9")
	}
	arp, err := os.ReadFile("/proc/net/arp")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(arp)) {
		if f := strings.Fields(line); f[0] == "10.0.2.1" {
			gateway, err := net.ParseMAC(f[3])
			return &card{fd, iface.HardwareAddr, gateway, unix.SockaddrLinklayer{Ifindex: iface.Index, Halen: 6}}, err
		}
	}
	return nil, fmt.Errorf("no gateway in\n%s", arp)
}

// send sends a frame, when there is room for it.
func (c *card) send(b []byte) error {
	for {
		err := unix.Sendto(c.fd, b, 0, &c.to)
		if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func frame(to, from net.HardwareAddr, kind uint16, payload []byte) []byte {
	b := append(append([]byte(nil), to...), from...)
	return append(binary.BigEndian.AppendUint16(b, kind), payload...)
}

// ipPacket is an IPv4 packet around a payload.
func ipPacket(from, to [4]byte, protocol byte, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], from[:])
	copy(b[16:], to[:])
	binary.BigEndian.PutUint16(b[10:], internetSum(b))
	return append(b, payload...)
}

func udpPacket(from, to [4]byte, port uint16, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, 40000)
	binary.BigEndian.PutUint16(b[2:], port)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return ipPacket(from, to, unix.IPPROTO_UDP, append(b, payload...)) // without a checksum
}

func synPacket(from, to [4]byte, fromPort, toPort uint16) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, fromPort)
	binary.BigEndian.PutUint16(b[2:], toPort)
	b[12], b[13] = 5<<4, 2
	binary.BigEndian.PutUint16(b[14:], 65535)
	pseudo := append(append(append([]byte(nil), from[:]...), to[:]...), 0, unix.IPPROTO_TCP, 0, byte(len(b)))
	binary.BigEndian.PutUint16(b[16:], internetSum(append(pseudo, b...)))
	return ipPacket(from, to, unix.IPPROTO_TCP, b)
}

// internetSum is the checksum of RFC 1071 over an even number of bytes.
func internetSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
