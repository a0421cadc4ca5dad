package agentproto

// ProcessInfo is a process of the guest, in a TypeReport frame.
type ProcessInfo struct {
	PID  int `json:"pid"`
	PPID int `json:"ppid"`
	// User is the name of who it runs as, or the number of one without a name.
	User string `json:"user"`
	// State is the letter that the kernel has for it (proc_pid_stat(5)).
	State string `json:"state"`
	// CPUMS is the processor time that it has used, in milliseconds.
	CPUMS int64 `json:"cpu_ms"`
	// RSSBytes is the memory that it has resident.
	RSSBytes int64 `json:"rss_bytes"`
	// StartedNS is when it was started, nanoseconds since 1970 by the guest's clock.
	StartedNS int64 `json:"started_ns"`
	// Command is its arguments with blanks between them, cut at some KiB; or its name
	// in brackets if it has none.
	Command string `json:"command"`
}

// GuestStats is the state of the guest, in a TypeReport frame. Memory is in bytes.
type GuestStats struct {
	// UptimeMS is the time since the guest's boot, in milliseconds.
	UptimeMS int64 `json:"uptime_ms"`
	// CPUMS is the time for which all processors together were busy since then, and
	// IdleMS that for which they had nothing to do, in milliseconds.
	CPUMS  int64 `json:"cpu_ms"`
	IdleMS int64 `json:"idle_ms"`
	// Load1 is the load average of one minute.
	Load1 float64 `json:"load1"`
	// MemTotal is what the kernel manages; MemAvailable what programs could still get,
	// of which MemFree is not used at all; and Cached holds content of files.
	MemTotal     int64 `json:"mem_total"`
	MemAvailable int64 `json:"mem_available"`
	MemFree      int64 `json:"mem_free"`
	Cached       int64 `json:"cached"`
	SwapTotal    int64 `json:"swap_total"`
	SwapFree     int64 `json:"swap_free"`
	// Processes is the number of processes but for kernel threads, and Sessions that
	// of programs that OpExec started and that run.
	Processes int `json:"processes"`
	Sessions  int `json:"sessions"`
	// OOMKills is how many processes the kernel killed for lack of memory.
	OOMKills int64 `json:"oom_kills"`
	// RootTotal and RootFree are the bytes of the root file system, and those of them
	// that programs can still use.
	RootTotal int64 `json:"root_total"`
	RootFree  int64 `json:"root_free"`
}

// DecodeProcessInfo decodes the payload of a TypeReport frame that answers
// OpProcesses. Numbers that cannot be are a ViolationError. The texts are the guest's.
func DecodeProcessInfo(b []byte) (ProcessInfo, error) {
	var p ProcessInfo
	if err := unmarshal("process", b, &p, false); err != nil {
		return p, err
	}
	if p.PID < 1 || p.PPID < 0 || p.CPUMS < 0 || p.RSSBytes < 0 {
		return p, violation("process %d: parent %d, %d ms, %d bytes", p.PID, p.PPID, p.CPUMS, p.RSSBytes)
	}
	return p, nil
}

// DecodeGuestStats decodes the payload of the TypeReport frame that answers OpStats.
// A negative number is a ViolationError.
func DecodeGuestStats(b []byte) (GuestStats, error) {
	var s GuestStats
	if err := unmarshal("stats", b, &s, false); err != nil {
		return s, err
	}
	least := min(s.UptimeMS, s.CPUMS, s.IdleMS, s.MemTotal, s.MemAvailable, s.MemFree, s.Cached, s.SwapTotal, s.SwapFree,
		int64(s.Processes), int64(s.Sessions), s.OOMKills, s.RootTotal, s.RootFree)
	if least < 0 || s.Load1 < 0 {
		return s, violation("stats: a number is negative (the load is %g)", s.Load1)
	}
	return s, nil
}
