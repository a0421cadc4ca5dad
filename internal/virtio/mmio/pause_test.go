package mmio

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtiotest"
)

// startBoth is a driver with both queues of a mirror running.
func startBoth(t *testing.T, dev virtio.Device) (*driver, [2]*virtiotest.Ring) {
	t.Helper()
	d := attach(t, dev)
	d.Accept(virtio.FeatureVersion1 | virtio.FeatureEventIdx)
	rings := [2]*virtiotest.Ring{d.startRing(0, ringAt, 16), d.startRing(1, ringAt+0x1000, 64)}
	d.Start()
	return d, rings
}

func (d *driver) echoes(i int, r *virtiotest.Ring, text string) {
	d.t.Helper()
	offer(r, dataAt, text)
	d.Kick(i)
	d.answered(i, r, dataAt, text)
}

// The guest goes on through any number of pauses, and the device knows of none.
func TestPauseWithTraffic(t *testing.T) {
	dev := &mirror{}
	d, rings := startBoth(t, dev)
	stop := make(chan struct{})
	var pauses sync.WaitGroup
	n := 0
	pauses.Go(func() {
		for ; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			d.Pause()
			d.Resume()
			time.Sleep(time.Duration(n%5) * 100 * time.Microsecond)
		}
	})
	for i := range 300 {
		d.echoes(i%2, rings[i%2], fmt.Sprint("request ", i))
	}
	close(stop)
	pauses.Wait()
	if requests, resets := dev.count(); requests != 300%256 || resets != 0 || n < 10 {
		t.Errorf("%d requests (modulo 256), %d resets, %d pauses", requests, resets, n)
	}
}

func TestNothingHappensInAPause(t *testing.T) {
	dev := &mirror{}
	d, rings := startBoth(t, dev)
	d.echoes(0, rings[0], "before")
	d.Pause()
	d.Pause()
	offer(rings[0], dataAt, "meanwhile")
	d.Kick(0)
	time.Sleep(5 * time.Millisecond)
	if n, _ := dev.count(); n != 1 {
		t.Errorf("the device had %d requests", n)
	}
	d.Resume()
	d.answered(0, rings[0], dataAt, "meanwhile")
	d.Resume()
	d.echoes(0, rings[0], "after")
}

// A pause that comes right after a start finds queues that the device has, and
// queues that it was never given.
func TestPauseAtOnce(t *testing.T) {
	dev := &mirror{}
	d, rings := startBoth(t, dev)
	for range 2000 {
		d.Pause()
		d.Resume()
	}
	d.echoes(1, rings[1], "after all")
	d.Pause()
	if dev.stray != 0 {
		t.Errorf("%d calls of StartQueue and StopQueue were not in turns", dev.stray)
	}
}

// What the driver writes to a running device's registers does not count later
// either.
func TestAgreementsOutliveAPause(t *testing.T) {
	d, rings := startBoth(t, &mirror{})
	d.SetupQueue(1, 8, 0x4000, 0x5000, 0x6000)
	d.accept(0xffffffff)
	d.Pause()
	if s, err := d.Save(); err != nil || s.DriverFeatures != virtio.FeatureVersion1|virtio.FeatureEventIdx {
		t.Errorf("features %#x, %v", s.DriverFeatures, err)
	}
	d.Resume()
	d.echoes(1, rings[1], "where it was")
}

// Another vCPU may still be writing registers when the machine pauses.
func TestDriverResetsAndStartsInAPause(t *testing.T) {
	dev := &mirror{}
	d, rings := startBoth(t, dev)
	d.echoes(0, rings[0], "first life")
	d.Pause()
	d.Reset()
	if _, resets := dev.count(); resets != 1 || d.get(regStatus) != 0 {
		t.Errorf("%d resets, status %#x", resets, d.get(regStatus))
	}
	d.Accept(virtio.FeatureVersion1)
	r := d.startRing(1, ringAt+0x4000, 16)
	other := d.startRing(0, ringAt+0x5000, 16)
	d.Start()
	d.put(regQueueSel, 0)
	d.put(regQueueReady, 0)
	offer(r, dataAt, "second life")
	d.Kick(1)
	time.Sleep(5 * time.Millisecond)
	if n, _ := dev.count(); n != 0 {
		t.Errorf("the device had %d requests in a pause", n)
	}
	d.Resume()
	d.answered(1, r, dataAt, "second life")
	offer(other, dataAt, "no queue")
	d.Kick(0)
	time.Sleep(2 * time.Millisecond)
	if _, ok := other.Used(); ok {
		t.Error("a queue that was taken away in the pause runs")
	}
}

func TestSaveAndLoad(t *testing.T) {
	first := &mirror{}
	d, rings := startBoth(t, first)
	for i := range 37 {
		d.echoes(i%2, rings[i%2], fmt.Sprint("request ", i))
	}
	if _, err := d.Save(); err == nil {
		t.Error("saved while it runs")
	}
	d.Interrupted(0, 0)
	d.Pause()
	d.interrupt(interruptUsed) // one that the guest has not seen
	offer(rings[1], dataAt, "on its way")
	saved, err := d.Save()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(saved)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	var state State
	if err := json.Unmarshal(text, &state); err != nil {
		t.Fatal(err)
	}
	second := &mirror{}
	clone := attachTo(t, second, d.mem)
	if err := clone.Load(state); err != nil {
		t.Fatal(err)
	}
	if again, err := clone.Save(); err != nil || fmt.Sprint(again) != fmt.Sprint(state) {
		t.Errorf("saved again, %v:\n%+v, loaded\n%+v", err, again, state)
	}
	if got := clone.get(regStatus); got != 0xf {
		t.Errorf("status %#x", got)
	}
	if clone.get(regInterruptStatus) != interruptUsed || signalled(clone.InterruptFD(), 0) {
		t.Error("an interrupt before Resume, or none to come")
	}
	clone.Resume()
	if !clone.Interrupted(0, virtiotest.WaitTimeout) {
		t.Error("the interrupt that was on its way is lost")
	}
	clone.answered(1, rings[1], dataAt, "on its way")
	for i := range 100 {
		clone.echoes(i%2, rings[i%2], fmt.Sprint("request ", i))
	}
	if n, _ := second.count(); n != 37+1+100 {
		t.Errorf("the clone counts %d requests", n)
	}
	if err := clone.Load(state); err == nil {
		t.Error("loaded into a transport that is in use")
	}
}

func TestLoadRefuses(t *testing.T) {
	d, _ := startBoth(t, &mirror{})
	d.Pause()
	good, err := d.Save()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*State){
		"another device":          func(s *State) { s.Type = virtio.TypeFS },
		"too few queues":          func(s *State) { s.Queues = s.Queues[:1] },
		"too many queues":         func(s *State) { s.Queues = append(s.Queues[:2:2], QueueState{}) },
		"status with a gap":       func(s *State) { s.Status = 0xd },
		"status with other bits":  func(s *State) { s.Status |= 16 },
		"interrupt status":        func(s *State) { s.InterruptStatus = 4 },
		"a feature not offered":   func(s *State) { s.DriverFeatures |= 1 },
		"a feature above all":     func(s *State) { s.AlienFeatures = true },
		"features without 1.0":    func(s *State) { s.DriverFeatures = 0 },
		"the device's own refuse": func(s *State) { s.Device = nil },
	} {
		bad := good
		change(&bad)
		dev := &mirror{}
		clone := attach(t, dev)
		err := clone.Load(bad)
		if err == nil || !strings.HasPrefix(err.Error(), "load virtio-mmio ") {
			t.Errorf("%s: %v", name, err)
		}
		if err := clone.Load(good); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

// What a driver could have written is not an error but its own doing.
func TestLoadedQueuesAreChecked(t *testing.T) {
	d, _ := startBoth(t, &mirror{})
	d.Pause()
	good, err := d.Save()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*QueueState){
		"size":           func(q *QueueState) { q.Size = 1 << 31 },
		"larger than it": func(q *QueueState) { q.Size = 32 },
		"address":        func(q *QueueState) { q.Driver = 1 << 60 },
		"position":       func(q *QueueState) { q.NextAvail = 1000 },
	} {
		bad := good
		bad.Queues = append([]QueueState(nil), good.Queues...)
		change(&bad.Queues[0])
		clone := attachTo(t, &mirror{}, d.mem)
		if err := clone.Load(bad); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		clone.Resume()
		if !clone.Broken(0, virtiotest.WaitTimeout) {
			t.Errorf("%s: the driver was not told", name)
		}
		clone.Pause()
		s, err := clone.Save()
		if err != nil || !s.Queues[0].Broken || s.Queues[1].Broken {
			t.Errorf("%s: saved %+v, %v", name, s, err)
		}
		third := attachTo(t, &mirror{}, d.mem)
		if err := third.Load(s); err != nil || third.get(regStatus) != 0x4f {
			t.Errorf("%s: a clone of the clone has status %#x, %v", name, third.get(regStatus), err)
		}
	}
}

func TestInterruptsAreSignalledOnceEach(t *testing.T) {
	d := attach(t, &mirror{})
	for i, s := range []struct {
		do   func()
		want bool // a signal
	}{
		{func() { d.interrupt(interruptUsed) }, true},
		{func() { d.interrupt(interruptUsed) }, false},  // its handler has yet to acknowledge
		{func() { d.interrupt(interruptConfig) }, true}, // its handler may have read the status
		{func() { d.put(regInterruptACK, interruptUsed) }, false},
		{func() { d.interrupt(interruptConfig) }, false},
		{func() { d.interrupt(interruptUsed) }, true},
		{d.Reset, false},
		{func() { d.interrupt(interruptUsed) }, true},
	} {
		s.do()
		if got := signalled(d.InterruptFD(), 0); got != s.want {
			t.Errorf("step %d: signalled: %v", i, got)
		}
	}
}

// TestNoInterruptIsLost publishes events and interrupts from several goroutines,
// and handles them as Linux does: when all is over, the handler has seen the last.
func TestNoInterruptIsLost(t *testing.T) {
	d := attach(t, &mirror{})
	const sources, events = 3, 20000
	var published [sources]atomic.Int64
	var all sync.WaitGroup
	for s := range sources {
		all.Go(func() {
			for range events {
				published[s].Add(1)
				d.interrupt(interruptUsed)
			}
		})
	}
	defer all.Wait()
	for seen := int64(0); seen < sources*events; {
		if !signalled(d.InterruptFD(), virtiotest.WaitTimeout) {
			t.Fatalf("no interrupt after %d events", seen)
		}
		status := d.get(regInterruptStatus)
		d.put(regInterruptACK, status)
		if status&interruptUsed == 0 {
			continue
		}
		seen = 0
		for s := range sources {
			seen += published[s].Load()
		}
	}
}

func TestClosedTransport(t *testing.T) {
	dev := &mirror{}
	d, _ := startBoth(t, dev)
	for range 2 {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, resets := dev.count(); resets != 1 {
		t.Errorf("%d resets", resets)
	}
	d.put(QueueNotify, 0) // and not into a descriptor that is somebody else's by now
	d.put(regStatus, 0xf)
	d.Resume()
	d.Pause()
	if got := d.get(regStatus); got != 0 {
		t.Errorf("status %#x", got)
	}
}

func TestNoDescriptorLeaks(t *testing.T) {
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	run := func() {
		d, rings := startBoth(t, &mirror{})
		d.echoes(0, rings[0], "once")
		d.Close()
	}
	run()
	before := open()
	for range 10 {
		run()
	}
	if after := open(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func BenchmarkPingPong(b *testing.B) {
	d := attach(b, &mirror{})
	d.ioeventfd = true
	d.Accept(virtio.FeatureVersion1 | virtio.FeatureEventIdx)
	r := d.startRing(0, ringAt, 16)
	d.Start()
	for b.Loop() {
		offer(r, dataAt, "ping")
		d.Kick(0)
		for ok := false; !ok; _, ok = r.Used() {
			d.Interrupted(0, virtiotest.WaitTimeout)
		}
	}
}
