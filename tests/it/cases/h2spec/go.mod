// h2spec, for the test that runs it. `tests/tools.sh` builds it from here; go.sum beside this file says what may be
// built.
module h2spec-program

go 1.18

require (
	github.com/fatih/color v1.15.0
	github.com/spf13/cobra v1.7.0
	github.com/summerwind/h2spec v2.2.1+incompatible
	golang.org/x/net v0.17.0
)
