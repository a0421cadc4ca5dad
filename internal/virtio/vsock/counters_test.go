package vsock

import "testing"

func TestCounters(t *testing.T) {
	d := newDevice(t)
	l, err := d.Listen(1024)
	if err != nil {
		t.Fatal(err)
	}
	g := boot(t, d, linux)
	for port := range uint32(3) {
		g.send(header{op: opRequest, srcPort: port, dstPort: 1024, bufAlloc: 1 << 18}, nil)
		g.expect(opResponse)
		accept(t, l)
	}
	g.send(header{op: opRequest, srcPort: 9, dstPort: 9}, nil) // nobody listens there
	g.expect(opRST)
	g.send(header{op: opRST, srcPort: 1, dstPort: 1024}, nil)
	g.send(header{op: opRequest, srcPort: 1, dstPort: 9}, nil) // the answer comes behind what is before
	g.expect(opRST)
	if got, want := d.Counters(), (Counters{Connections: 3, Open: 2}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}
