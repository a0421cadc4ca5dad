package holt

import "strconv"

// FieldError is one problem with one field of a [Config]. Errors of this
// package that hold several are joined: use errors.As for the first, or unwrap
// to []error for all.
type FieldError struct {
	// Field is the JSON name of the field, such as "memory_mb". For one bad
	// element of a list it is the name of the list.
	Field string
	// Value is the offending value as text; strings are quoted. It is empty
	// when the problem is that no value was given.
	Value string
	// Problem says what is wrong and what would be accepted.
	Problem string
	// Err is the cause, for errors.Is; its text is already part of Problem.
	// It may be nil.
	Err error
}

// Error returns "field: value: problem", without the value if there is none.
func (e *FieldError) Error() string {
	if e.Value == "" {
		return e.Field + ": " + e.Problem
	}
	return e.Field + ": " + e.Value + ": " + e.Problem
}

// Unwrap returns the cause, which may be nil.
func (e *FieldError) Unwrap() error { return e.Err }

// badText is the FieldError of a string that was refused because of err.
func badText(field, value string, err error) *FieldError {
	return &FieldError{Field: field, Value: strconv.Quote(value), Problem: err.Error(), Err: err}
}
