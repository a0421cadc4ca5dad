package agentproto

// MaxAdjustNS bounds Request.AdjustNS, in either direction: 200 years in nanoseconds.
const MaxAdjustNS = 200 * 366 * 24 * 3600 * 1e9

// Clock is the answer to OpClock, in a TypeReport frame.
type Clock struct {
	// NS is the guest's wall clock, nanoseconds since 1970, after the adjustment.
	NS int64 `json:"clock_ns"`
}

// DecodeClock decodes the payload of the TypeReport frame that answers OpClock. A time
// before 1970 is a ViolationError.
func DecodeClock(b []byte) (Clock, error) {
	var c Clock
	if err := unmarshal("clock", b, &c, false); err != nil {
		return c, err
	}
	if err := checkClock(c.NS); err != nil {
		return c, violation("%v", err)
	}
	return c, nil
}
