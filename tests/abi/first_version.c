/// Does not compile where a field of the first version has moved.
#include <ropewalk/ropewalk.h>

#define RW_STRUCT(type, size) typedef char type##_has_kept_its_first_fields[sizeof(type) >= (size) ? 1 : -1];
#define RW_FIELD(type, field, offset) \
  typedef char type##_##field##_has_not_moved[offsetof(type, field) == (offset) ? 1 : -1];
#define RW_LAST(type, field)
#include "first_version.inc"
#undef RW_STRUCT
#undef RW_FIELD
#undef RW_LAST

/// The first version has no padding at its end, where a later field could stand whose bytes an older program has not
/// set.
#define RW_STRUCT(type, size) enum { type##_size = (size) };
#define RW_FIELD(type, field, offset) enum { type##_##field##_end = (offset) + sizeof(((type*)0)->field) };
#define RW_LAST(type, field) \
  typedef char type##_ends_in_##field[(int)type##_##field##_end == (int)type##_size ? 1 : -1];
#include "first_version.inc"

int main(void) { return 0; }
