package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agent/program"
	"github.com/holtvm/holt/internal/agentproto"
)

const (
	// maxCommand is how much of a command line is reported, in bytes.
	maxCommand = 4 << 10
	// maxProcFile is how much is read of a file that the kernel makes up, in bytes.
	maxProcFile = 1 << 20
	// ticksPerSecond is the unit of times in /proc: USER_HZ, the same on every
	// architecture that Go has.
	ticksPerSecond = 100
	// kernelThread is PF_KTHREAD, a flag in /proc/PID/stat.
	kernelThread = 0x00200000
)

// processes lists the processes of the guest but for kernel threads, by the procfs at
// proc.
func processes(proc string) ([]agentproto.ProcessInfo, error) {
	names, err := program.UserNames()
	if err != nil {
		names = nil // numbers will do
	}
	boot := time.Now().Add(-uptime())
	var list []agentproto.ProcessInfo
	err = eachProcess(proc, func(dir string, s procStat) {
		p := agentproto.ProcessInfo{
			PID: s.pid, PPID: s.ppid, State: s.state,
			CPUMS:     s.ticks * 1000 / ticksPerSecond,
			RSSBytes:  s.pages * int64(os.Getpagesize()),
			StartedNS: boot.Add(time.Duration(s.startTicks) * (time.Second / ticksPerSecond)).UnixNano(),
			Command:   commandLine(dir, s.name),
		}
		var st unix.Stat_t
		if unix.Stat(dir, &st) != nil {
			return // it has ended
		}
		if p.User = names[st.Uid]; p.User == "" {
			p.User = strconv.FormatUint(uint64(st.Uid), 10)
		}
		list = append(list, p)
	})
	return list, err
}

// eachProcess calls f for every process but kernel threads.
func eachProcess(proc string, f func(dir string, s procStat)) error {
	d, err := os.Open(proc)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		dir := filepath.Join(proc, name)
		b, err := readSmall(filepath.Join(dir, "stat"), maxProcFile)
		if err != nil {
			continue // it has ended
		}
		if s, ok := parseStat(string(b)); ok && s.flags&kernelThread == 0 {
			f(dir, s)
		}
	}
	return nil
}

// procStat is what counts here of /proc/PID/stat.
type procStat struct {
	pid, ppid         int
	name, state       string
	flags             uint64
	ticks, startTicks int64 // of USER_HZ
	pages             int64
}

// parseStat reads the content of /proc/PID/stat (proc_pid_stat(5)). The name, in
// parentheses, may hold blanks and parentheses.
func parseStat(line string) (s procStat, ok bool) {
	pid, rest, ok1 := strings.Cut(line, " (")
	end := strings.LastIndex(rest, ") ")
	if !ok1 || end < 0 {
		return s, false
	}
	s.name = rest[:end]
	f := strings.Fields(rest[end+2:]) // f[0] is the third field
	if len(f) < 22 {
		return s, false
	}
	s.state = f[0]
	ok = true
	number := func(text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		ok = ok && err == nil
		return n
	}
	s.pid, s.ppid = int(number(pid)), int(number(f[1]))
	s.flags = uint64(number(f[6]))
	s.ticks = number(f[11]) + number(f[12]) // in programs, and in the kernel for them
	s.startTicks, s.pages = number(f[19]), number(f[21])
	return s, ok
}

// commandLine is the arguments of a process, or its name in brackets.
func commandLine(dir, name string) string {
	b, err := readSmall(filepath.Join(dir, "cmdline"), maxCommand)
	if b = bytes.TrimRight(b, "\x00"); err == nil && len(b) > 0 {
		return string(bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
	}
	return "[" + name + "]"
}
