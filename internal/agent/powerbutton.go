package agent

import (
	"encoding/binary"
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Numbers of linux/input.h and linux/input-event-codes.h.
const (
	evKey      = 1
	keyPower   = 116
	keyBytes   = 0x300 / 8 // of a bitmap of keys
	eventSize  = 24        // of struct input_event where a long has 64 bits
	eventsRead = 64
)

// watchPowerButton calls press whenever a power button in dir is pressed. The kernel
// makes the devices at any time, when it has loaded a driver, or never. isButton says
// whether a device is one; watchPowerButton returns when nothing can be watched.
func watchPowerButton(dir string, isButton func(fd int) bool, press func()) {
	notify, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return
	}
	defer unix.Close(notify)
	buttons := map[string]int{} // descriptors by the names of the devices
	defer func() {
		for _, fd := range buttons {
			_ = unix.Close(fd)
		}
	}()
	buf := make([]byte, eventsRead*eventSize)
	for {
		watched := watchDir(notify, dir)
		lookForButtons(dir, isButton, buttons)
		if !watched && len(buttons) == 0 {
			return
		}
		ready := []unix.PollFd{{Fd: int32(notify), Events: unix.POLLIN}}
		names := []string{""}
		for name, fd := range buttons {
			ready = append(ready, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			names = append(names, name)
		}
		if _, err := unix.Poll(ready, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		for i, p := range ready {
			if p.Revents == 0 {
				continue
			}
			n, err := unix.Read(int(p.Fd), buf)
			switch {
			case i == 0 || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			case err != nil || n <= 0: // the device is gone
				_ = unix.Close(int(p.Fd))
				delete(buttons, names[i])
			case isPress(buf[:n]):
				press()
			}
		}
	}
}

// watchDir makes notify tell of what appears in dir, or that dir does.
func watchDir(notify int, dir string) bool {
	_, err := unix.InotifyAddWatch(notify, dir, unix.IN_CREATE)
	if err != nil {
		_, err = unix.InotifyAddWatch(notify, filepath.Dir(dir), unix.IN_CREATE)
	}
	return err == nil
}

// lookForButtons opens the devices that are new.
func lookForButtons(dir string, isButton func(fd int) bool, buttons map[string]int) {
	found, err := filepath.Glob(filepath.Join(dir, "event*"))
	if err != nil {
		return // it is a bad pattern that this says
	}
	for _, name := range found {
		if _, known := buttons[name]; known {
			continue
		}
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if !isButton(fd) {
			_ = unix.Close(fd)
			continue
		}
		buttons[name] = fd
	}
}

// isPress reports whether there is a press of a power key among input events: a time,
// then type, code and value; 1 is a press.
func isPress(events []byte) bool {
	for ; len(events) >= eventSize; events = events[eventSize:] {
		e := events[16:eventSize]
		if binary.NativeEndian.Uint16(e) == evKey && binary.NativeEndian.Uint16(e[2:]) == keyPower &&
			binary.NativeEndian.Uint32(e[4:]) == 1 {
			return true
		}
	}
	return false
}
