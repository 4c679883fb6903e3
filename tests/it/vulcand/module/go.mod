// The last vulcand, for the tests that compare with it. `tests/tools.sh` builds its programs from here; go.sum beside
// this file says what may be built.
module vulcand-programs

go 1.18

require github.com/vulcand/vulcand v0.9.2
