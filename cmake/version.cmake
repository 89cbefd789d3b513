# The commit that `longspan --version` names; "unknown" outside a git checkout.
execute_process(
  COMMAND git -C ${PROJECT_SOURCE_DIR} describe --always --dirty --abbrev=10
  OUTPUT_VARIABLE LONGSPAN_COMMIT
  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT LONGSPAN_COMMIT)
  set(LONGSPAN_COMMIT unknown)
endif()
