package holt

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// RlimInfinity is the value of a limit that limits nothing: RLIM64_INFINITY of
// Linux. Its text form is "unlimited".
const RlimInfinity uint64 = math.MaxUint64

// RlimitResource is a resource by its number in Linux
// (include/uapi/asm-generic/resource.h); x86 and arm64 use the same ones.
type RlimitResource uint8

// The resources of Linux. The unit of each limit is in parentheses; see
// getrlimit(2).
const (
	RlimitCPU        RlimitResource = iota // CPU time (seconds)
	RlimitFSize                            // size of a file (bytes)
	RlimitData                             // data segment (bytes)
	RlimitStack                            // stack (bytes)
	RlimitCore                             // core file (bytes)
	RlimitRSS                              // resident set (bytes); without effect in Linux
	RlimitNProc                            // processes and threads of the user (count)
	RlimitNoFile                           // descriptor numbers (one more than the highest)
	RlimitMemlock                          // locked memory (bytes)
	RlimitAS                               // address space (bytes)
	RlimitLocks                            // file locks (count); without effect in Linux
	RlimitSigPending                       // queued signals (count)
	RlimitMsgQueue                         // POSIX message queues (bytes)
	RlimitNice                             // 20 minus the lowest nice value
	RlimitRTPrio                           // real-time priority
	RlimitRTTime                           // real-time CPU time without blocking (microseconds)
)

var rlimitNames = []string{
	"RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK",
	"RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC", "RLIMIT_NOFILE",
	"RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING",
	"RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
}

// String returns the name, such as "RLIMIT_NOFILE", or the number if Linux has
// no such resource.
func (r RlimitResource) String() string {
	if int(r) >= len(rlimitNames) {
		return strconv.Itoa(int(r))
	}
	return rlimitNames[r]
}

// Rlimit is one resource limit. Its text form is "RLIMIT_NAME=soft:hard".
type Rlimit struct {
	// Resource is what is limited.
	Resource RlimitResource
	// Soft is the limit that is enforced, at most Hard.
	Soft uint64
	// Hard is how far the program may raise Soft. RlimInfinity is no limit.
	Hard uint64
}

// ParseRlimit parses "RLIMIT_NAME=soft:hard", or "RLIMIT_NAME=value" for both.
// The name is one of Linux's 16, or its number, 0 to 15; a value is a decimal
// number, "unlimited" or "infinity".
func ParseRlimit(s string) (Rlimit, error) {
	r, err := parseRlimit(s)
	if err != nil {
		return Rlimit{}, fmt.Errorf("rlimit %q: %w", s, err)
	}
	return r, nil
}

func parseRlimit(s string) (Rlimit, error) {
	name, values, found := strings.Cut(s, "=")
	if !found {
		return Rlimit{}, errors.New("must be RLIMIT_NAME=soft:hard or RLIMIT_NAME=value")
	}
	resource, err := parseRlimitResource(name)
	if err != nil {
		return Rlimit{}, err
	}
	soft, hard, found := strings.Cut(values, ":")
	if !found {
		hard = soft
	}
	r := Rlimit{Resource: resource}
	if r.Soft, err = parseRlimitValue(soft); err != nil {
		return Rlimit{}, err
	}
	if r.Hard, err = parseRlimitValue(hard); err != nil {
		return Rlimit{}, err
	}
	if err := r.check(); err != nil {
		return Rlimit{}, err
	}
	return r, nil
}

func parseRlimitResource(s string) (RlimitResource, error) {
	if i := slices.Index(rlimitNames, s); i >= 0 {
		return RlimitResource(i), nil
	}
	if n, err := strconv.ParseUint(s, 10, 8); err == nil && int(n) < len(rlimitNames) {
		return RlimitResource(n), nil
	}
	return 0, errResource(s)
}

func errResource(s string) error {
	return fmt.Errorf("resource %q must be one of %s, or a number from 0 to %d",
		s, strings.Join(rlimitNames, ", "), len(rlimitNames)-1)
}

func parseRlimitValue(s string) (uint64, error) {
	if s == "unlimited" || s == "infinity" {
		return RlimInfinity, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("limit %q must be a number from 0 to %d, unlimited or infinity", s, RlimInfinity)
	}
	return n, nil
}

func (r Rlimit) check() error {
	if int(r.Resource) >= len(rlimitNames) {
		return errResource(r.Resource.String())
	}
	if r.Soft > r.Hard {
		return fmt.Errorf("soft limit %s must be at most the hard limit %s", rlimitValue(r.Soft), rlimitValue(r.Hard))
	}
	return nil
}

func rlimitValue(n uint64) string {
	if n == RlimInfinity {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

// String returns "RLIMIT_NAME=soft:hard", which parses to r again.
func (r Rlimit) String() string {
	return r.Resource.String() + "=" + rlimitValue(r.Soft) + ":" + rlimitValue(r.Hard)
}

// MarshalText is String. It fails on a limit that would not parse again.
func (r Rlimit) MarshalText() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("rlimit %q: %w", r.String(), err)
	}
	return []byte(r.String()), nil
}

// UnmarshalText is ParseRlimit.
func (r *Rlimit) UnmarshalText(text []byte) error { return unmarshalText(r, text, ParseRlimit) }
