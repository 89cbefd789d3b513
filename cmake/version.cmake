# The commit that `longspan --version` names; "unknown" outside a git checkout.
execute_process(
  COMMAND git -C ${PROJECT_SOURCE_DIR} describe --always --dirty --abbrev=10
  OUTPUT_VARIABLE LONGSPAN_COMMIT
  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
# Looked up again when HEAD has moved.
execute_process(
  COMMAND git -C ${PROJECT_SOURCE_DIR} rev-parse --git-path logs/HEAD
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
  OUTPUT_VARIABLE LONGSPAN_HEAD_LOG
  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
get_filename_component(LONGSPAN_HEAD_LOG "${LONGSPAN_HEAD_LOG}" ABSOLUTE BASE_DIR
                       ${PROJECT_SOURCE_DIR})
if(EXISTS "${LONGSPAN_HEAD_LOG}" AND NOT IS_DIRECTORY "${LONGSPAN_HEAD_LOG}")
  set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
                                                               "${LONGSPAN_HEAD_LOG}")
endif()
if(NOT LONGSPAN_COMMIT)
  set(LONGSPAN_COMMIT unknown)
endif()
